# SPDX-License-Identifier: Apache-2.0
"""The machine's way to a Python package index, carried into a build and never into an image."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import sys
from collections.abc import Mapping

from lab.errors import ImageError
from lab.machine import commands

CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def index_environment(config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make pip and uv use the machine's index.

    Indexes and link directories on the machine's disk are left out: a build does not see them.

    :param config: what ``pip config list`` says
    :param environ: the machine's environment
    """
    values: dict[str, str] = {}
    for line in config.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        values.setdefault(name, value.strip().strip("'\""))
    index = values.get("index-url", "")
    extra = " ".join(x for x in _split(values.get("extra-index-url", "")) if _remote(x))
    variables = {
        "PIP_INDEX_URL": index if _remote(index) else "",
        "UV_DEFAULT_INDEX": index if _remote(index) else "",
        "PIP_EXTRA_INDEX_URL": extra,
        "UV_INDEX": extra,
        **{name: environ[name] for name in PROXIES if name in environ},
    }
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX"):
        own = " ".join(x for x in _split(environ.get(name, "")) if _remote(x))
        variables[name] = own or variables[name]
    return {name: value for name, value in variables.items() if value}


def machine_index() -> dict[str, str]:
    """Return ``index_environment`` of this machine."""
    done = commands.run([sys.executable, "-m", "pip", "config", "list"], check=False)
    return index_environment(done.stdout, os.environ)


def ca_bundle() -> pathlib.Path:
    """Return the file with the certificate authorities that the machine trusts."""
    named = [os.environ[x] for x in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if x in os.environ]
    for path in map(pathlib.Path, [*named, *CA_BUNDLES]):
        if path.is_file():
            return path.resolve()
    raise ImageError("no CA bundle on this machine: install ca-certificates")


def uv_program() -> pathlib.Path:
    """Return the uv program itself (a static one, which runs in any build too)."""
    beside = pathlib.Path(sys.executable).parent / "uv"
    for candidate in (str(beside), shutil.which("uv") or ""):
        if candidate and os.path.isfile(candidate):
            with open(candidate, "rb") as program:
                if program.read(4) == b"\x7fELF":
                    return pathlib.Path(candidate).resolve()
    raise ImageError("uv is not installed: pip install -r lab/requirements.txt")


def _split(value: str) -> list[str]:
    return [x for x in re.split(r"[\s,]+", value.replace("\\n", " ")) if x]


def _remote(url: str) -> bool:
    return url.startswith(("http://", "https://"))
