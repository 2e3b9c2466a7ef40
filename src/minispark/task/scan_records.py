"""Where records begin in the bytes of a file.

A record ends at a newline that is not inside quotes. Inside means after an odd number of quote
characters, counted from the start of the file, wherever they stand. That is how Polars itself
finds the ends of rows; it refuses a file in which quotes in the middle of unquoted fields make its
parser find other ends ("CSV malformed"), and so does the split that holds such fields. A split is
a little stricter: over a long stretch two such faults may cancel out.

Everything here looks at a few bytes around a cut, never at a whole split.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BOM = b"\xef\xbb\xbf"
_COUNTED_AT_ONCE = 1 << 20
_NEWLINE = 10

Bytes = bytes | mmap.mmap


@contextmanager
def mapped(path: Path) -> Iterator[Bytes]:
    """Map a file for the block."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def record_start(
    data: Bytes, position: int, *, quote: bytes | None = None, odd: bool = False
) -> int:
    """Return where the first record at or after ``position`` begins; the end of file if none does.

    Parameters
    ----------
    quote
        The quote character; None where nothing can be quoted.
    odd
        Whether an odd number of quotes lies before ``position``.
    """
    size = len(data)
    if position >= size:
        return size
    if not odd and (position == 0 or data[position - 1] == _NEWLINE):
        return position
    place = position
    while True:
        if odd and quote is not None:
            place = data.find(quote, place) + 1
            if not place:
                return size
            odd = False
        newline = data.find(b"\n", place)
        if newline < 0:
            return size
        opening = -1 if quote is None else data.find(quote, place, newline)
        if opening < 0:
            return newline + 1
        place, odd = opening + 1, True


def body_start(data: Bytes, *, has_header: bool, quote: bytes | None) -> int:
    """Return where the first data record of a CSV file begins.

    As in Polars, a byte order mark is no data and empty lines before a header are skipped.
    """
    place = len(BOM) if data[: len(BOM)] == BOM else 0
    if not has_header:
        return place
    while True:
        if data[place : place + 1] == b"\n":
            place += 1
        elif data[place : place + 2] == b"\r\n":
            place += 2
        else:
            break
    # One further on, since a header begins here and we want what comes after it.
    odd = quote is not None and data[place : place + 1] == quote
    return record_start(data, place + 1, quote=quote, odd=odd)


def count_byte(data: Bytes, byte: bytes, start: int, end: int) -> int:
    """Count a byte in ``data[start:end]``; where there is none, at the speed of memory."""
    place = data.find(byte, start, end)
    if place < 0:
        return 0
    return sum(
        data[begin : min(begin + _COUNTED_AT_ONCE, end)].count(byte)
        for begin in range(place, end, _COUNTED_AT_ONCE)
    )
