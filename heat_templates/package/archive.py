# SPDX-License-Identifier: Apache-2.0
"""How the package is put together: the same bytes for the same texts, wherever that is done.

The executor does it, who asks hosts for it by its digest, and a host does it that a stack of Heat
brings the texts to.
"""

import io
import zipfile

START = b"#!/usr/bin/env python3\n"
# What comes before it has no time in a zip archive.
TIME = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o100644
UNIX = 3


def archive(texts: dict[str, str]) -> bytes:
    """Return the package of these files: a zip archive that Python runs (PEP 441).

    Nothing is compressed, as each zlib does that in its own way.
    """
    data = io.BytesIO()
    data.write(START)
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as file:
        for name, text in sorted(texts.items()):
            entry = zipfile.ZipInfo(name, TIME)
            entry.create_system, entry.external_attr = UNIX, FILE_MODE << 16
            file.writestr(entry, text.encode())
    return data.getvalue()
