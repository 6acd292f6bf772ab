# SPDX-License-Identifier: Apache-2.0
"""The names of a run's hosts in a form that fits into a field of Mistral's, however many they are.

Runs of other projects have to read them, and Mistral shows a page of hosts to its own project
alone. So a long list is carried as digests of the names: in order, of which only the differences
are kept (Golomb-Rice coding), some 20 bits a host at ten thousand.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from novadocker_actions.plan import packing

# Two runs of ten thousand hosts each, none of them the same, are taken for sharing one in two of a
# hundred cases: then the later one is refused until the other has ended.
_DIGEST_BITS = 32
_DIGESTS, _LOW_BITS = "digests", "low_bits"


def carried(names: Iterable[str], most_chars: int = packing.PACKED_CHARS) -> Any:
    """Return names as a workflow carries them: as they are, packed, or as digests.

    :param names: of hosts
    :param most_chars: that they may take
    """
    ordered = sorted(set(names))
    packed = packing.pack(ordered)
    if not isinstance(packed, str) or len(packed) <= most_chars:
        return packed
    digests = sorted({_digest(name) for name in ordered})
    # The mean difference, as a power of two.
    low_bits = max(0, (2**_DIGEST_BITS // len(digests)).bit_length() - 1)
    return {_DIGESTS: _encoded(digests, low_bits), _LOW_BITS: low_bits}


def shared(names: Iterable[str], theirs: Any) -> list[str]:
    """Return those names that another run has as well, in order.

    :param names: of this run's hosts
    :param theirs: what :func:`carried` gave the other run
    """
    if not isinstance(theirs, dict):
        return sorted(set(names) & set(packing.unpack(theirs)))
    digests = set(_decoded(theirs[_DIGESTS], theirs[_LOW_BITS]))
    return sorted(name for name in set(names) if _digest(name) in digests)


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[: _DIGEST_BITS // 8], "big")


def _encoded(digests: list[int], low_bits: int) -> str:
    """Return ordered numbers: of each difference the high part in unary, then the low part."""
    bits, last = [], 0
    for digest in digests:
        high, low = divmod(digest - last, 2**low_bits)
        bits.append("1" * high + "0" + (f"{low:0{low_bits}b}" if low_bits else ""))
        last = digest
    text = "".join(bits)
    # What is left of the last byte begins a number that has no end.
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big")
    return base64.b64encode(data).decode()


def _decoded(text: str, low_bits: int) -> Iterator[int]:
    data = base64.b64decode(text)
    bits = f"{int.from_bytes(data, 'big'):0{len(data) * 8}b}"
    place, last = 0, 0
    while (end := bits.find("0", place)) >= 0:
        low = bits[end + 1 : end + 1 + low_bits]
        last += (end - place) * 2**low_bits + (int(low, 2) if low else 0)
        place = end + 1 + low_bits
        yield last
