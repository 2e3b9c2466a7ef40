"""Where records begin in the bytes of a file.

A record ends at a newline that is not inside quotes. "Inside" means: after an odd number of quote
characters, counted from the start of the file, at any position. Polars itself finds the ends of
rows in this way. It refuses a file in which quotes in the middle of unquoted fields make its parser
find other ends ("CSV malformed"), and so does the split that holds such fields. A split is a little
stricter: over a long stretch two such faults may cancel out.

The functions look at a few bytes around a cut, never at a whole split.
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
def map_file(path: Path) -> Iterator[Bytes]:
    """Map a file into memory for the block."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def record_start(
    data: Bytes, position: int, *, quote: bytes | None = None, odd: bool = False
) -> int:
    """Return where the first record at or after ``position`` begins, else the end of the file.

    Parameters
    ----------
    quote
        The quote character; None if nothing can be quoted.
    odd
        Whether an odd number of quotes lies before ``position``.
    """
    size = len(data)
    if position >= size:
        return size
    if not odd and (position == 0 or data[position - 1] == _NEWLINE):
        return position
    start = position
    while True:
        if odd and quote is not None:
            start = data.find(quote, start) + 1
            if not start:
                return size
            odd = False
        newline = data.find(b"\n", start)
        if newline < 0:
            return size
        opening = -1 if quote is None else data.find(quote, start, newline)
        if opening < 0:
            return newline + 1
        start, odd = opening + 1, True


def body_start(data: Bytes, *, has_header: bool, quote: bytes | None) -> int:
    """Return where the first data record of a CSV file begins.

    As in Polars, a byte order mark is no data and empty lines before a header are skipped.
    """
    start = len(BOM) if data[: len(BOM)] == BOM else 0
    if not has_header:
        return start
    while data[start : start + 1] == b"\n" or data[start : start + 2] == b"\r\n":
        start += 1 if data[start : start + 1] == b"\n" else 2
    # One byte further: a header begins at `start`, and the record after it is wanted.
    odd = quote is not None and data[start : start + 1] == quote
    return record_start(data, start + 1, quote=quote, odd=odd)


def count_byte(data: Bytes, byte: bytes, start: int, end: int) -> int:
    """Return how often a byte is in ``data[start:end]``, in pieces, so that no copy is large."""
    first = data.find(byte, start, end)
    if first < 0:
        return 0
    return sum(
        data[begin : min(begin + _COUNTED_AT_ONCE, end)].count(byte)
        for begin in range(first, end, _COUNTED_AT_ONCE)
    )
