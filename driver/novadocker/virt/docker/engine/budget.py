# SPDX-License-Identifier: Apache-2.0
"""What looking through one image may cost, as far as it is not told by the image's size.

A few bytes of an upload become megabytes of extended headers or of empty compressed streams, and
Python makes objects of all of them, while everything else in nova-compute waits.
"""

from __future__ import annotations

from novadocker import exceptions

# Linux takes 64 KiB for a value of an extended attribute, and 4 KiB for a path.
MAX_HEADER_BYTES = 64 << 10
# Of all extended headers of an archive and its layers, and what each file that was read adds:
# a long name, or one that is not of ASCII, and some attributes.
MAX_HEADERS_BYTES = 32 << 20
HEADERS_BYTES_A_FILE = 256
# Of one name and value each; some tools write four for each file.
MAX_RECORDS = 2_000_000
# In front of one member: POSIX's for all members and for this one, GNU's long name and long link.
MAX_HEADERS_IN_A_ROW = 4
# Some tools pack each file of a layer as a stream of its own.
MAX_STREAMS = 500_000


class Budget:
    """The budget of one image: of its archive and of all of its layers together.

    :param headers_bytes: what all extended headers may have, apart from what each file adds
    """

    def __init__(self, headers_bytes: int = MAX_HEADERS_BYTES) -> None:
        self._headers_bytes = headers_bytes
        self._headers_in_a_row = 0
        self._records = 0
        self._streams = 0
        self.headers_read_bytes = 0
        self.files = 0

    def take_header(self, size_bytes: int) -> None:
        """Spend on an extended header, before it is read.

        :raises ImageRefused: it is too large, or all of them are, or there are too many in a row
        """
        if size_bytes > MAX_HEADER_BYTES:
            raise exceptions.ImageRefused(
                f"a header in the archive has {size_bytes} bytes; {MAX_HEADER_BYTES} are allowed"
            )
        self._headers_in_a_row += 1
        if self._headers_in_a_row > MAX_HEADERS_IN_A_ROW:
            raise exceptions.ImageRefused(
                f"a file in the archive has more than {MAX_HEADERS_IN_A_ROW} extended headers"
            )
        allowed = self._headers_bytes + HEADERS_BYTES_A_FILE * self.files
        if self.headers_read_bytes + size_bytes > allowed:
            raise exceptions.ImageRefused(
                f"extended headers in the archive have more than {self._headers_bytes} bytes and "
                f"{HEADERS_BYTES_A_FILE} for each of {self.files} files"
            )
        self.headers_read_bytes += size_bytes

    def take_record(self) -> None:
        """Spend on one record of an extended header.

        :raises ImageRefused: there are too many
        """
        self._records += 1
        if self._records > MAX_RECORDS:
            raise exceptions.ImageRefused(
                f"extended headers in the archive have more than {MAX_RECORDS} records"
            )

    def end_headers(self) -> None:
        """Take note that the member comes that the headers belong to."""
        self._headers_in_a_row = 0
        self.files += 1

    def take_stream(self) -> None:
        """Spend on one compressed stream, before it is begun.

        :raises ImageRefused: there are too many
        """
        self._streams += 1
        if self._streams > MAX_STREAMS:
            raise exceptions.ImageRefused(
                f"it is packed in more than {MAX_STREAMS} streams; pack it in one"
            )
