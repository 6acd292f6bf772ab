# SPDX-License-Identifier: Apache-2.0
"""Print, as shell exports, uv's settings for the package indexes that pip is set up for.

uv does not read pip's configuration. A machine behind a mirror or with its own certificates
has told pip only.
"""

import ast
import os
import shlex
import subprocess
import sys

# In pip's own order of precedence, the weakest first.
LEVELS = ("global", "user", "site", "install", ":env:")
VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}


def pip_settings(listing: str) -> dict[str, str]:
    """Read what `pip config list` prints into one mapping, the strongest level winning."""
    levels: dict[str, dict[str, str]] = {level: {} for level in LEVELS}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        level, _, key = name.partition(".")
        if separator and level in levels:
            levels[level][key] = str(ast.literal_eval(value))
    merged: dict[str, str] = {}
    for level in LEVELS:
        merged.update(levels[level])
    return merged


def exports(settings: dict[str, str], environ: dict[str, str]) -> list[str]:
    """Return one `export` line for each setting that the environment does not set itself."""
    lines = []
    for key, variable in VARIABLES.items():
        if settings.get(key) and variable not in environ:
            words = settings[key].split()
            joined = (",".join if variable == "UV_FIND_LINKS" else " ".join)(words)
            lines.append(f"export {variable}={shlex.quote(joined)}")
    if "extra-index-url" in settings:
        # As pip does: the best version of all indexes, not the first index that has the name.
        lines.append("export UV_INDEX_STRATEGY=unsafe-best-match")
    return lines


if __name__ == "__main__":
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    )
    print("\n".join(exports(pip_settings(listed.stdout), dict(os.environ))))
