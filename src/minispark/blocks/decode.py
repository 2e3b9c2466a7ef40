"""Turns the bytes of a partition into rows.

Arrow readers trust the offsets, lengths and indices in a stream: with forged ones pyarrow and
Polars read memory that does not exist, and the process ends with SIGSEGV. A checksum does not help
if the same process writes the receipt. So bytes from a process of another user are checked in full
before a value is used (2 to 3 GB/s for strings, almost free for numbers). Compressed bytes are
refused: our own writer never makes them, and they may unpack to a thousand times their size.
"""

from __future__ import annotations

import io
import struct
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.ipc

MAPPED_BYTES = 64 * 1024
"""For less, Polars' own reader is faster than mapping and pyarrow (30 against 130 us)."""

# Positions of fields in the tables of Arrow's Message.fbs.
_HEADER: Final = 2
_DICTIONARY_DATA: Final = 1
_COMPRESSION: Final = 3


def decode(data: memoryview, *, trusted: bool) -> pl.DataFrame:
    """Return the rows of an Arrow stream; ``trusted`` if a process of this user wrote it.

    Raises
    ------
    Exception
        The bytes are not a valid stream; each reader has its own classes for that.
    """
    if trusted:
        frame = _by_arrow(data, validate=False) if len(data) >= MAPPED_BYTES else None
    else:
        _refuse_compressed(data)
        frame = _by_arrow(data, validate=True)
    return pl.read_ipc_stream(io.BytesIO(data)) if frame is None else frame


def _by_arrow(data: memoryview, *, validate: bool) -> pl.DataFrame | None:
    """Return the rows without a copy, None if pyarrow does not know a dtype."""
    try:
        table = pyarrow.ipc.open_stream(pa.py_buffer(data)).read_all()
    except pa.ArrowNotImplementedError:
        return None  # 128-bit integers: Polars' own extension of the format
    if validate:
        table.validate(full=True)
    # By position: Polars renames a column without a name.
    positions = [str(position) for position in range(table.num_columns)]
    frame = pl.from_arrow(table.rename_columns(positions), rechunk=False)
    if not isinstance(frame, pl.DataFrame):
        return None
    frame.columns = table.column_names
    return frame


def _refuse_compressed(data: memoryview) -> None:
    # The reader of messages verifies their flatbuffers, so the offsets in them are valid.
    for message in pyarrow.ipc.MessageReader.open_stream(pa.py_buffer(data)):
        head = memoryview(message.metadata)
        (root,) = struct.unpack_from("<I", head, 0)
        batch = _table(head, root, _HEADER)
        if batch is not None and message.type == "dictionary":
            batch = _table(head, batch, _DICTIONARY_DATA)
        if message.type not in ("record batch", "dictionary"):
            continue
        if batch is not None and _table(head, batch, _COMPRESSION) is not None:
            msg = "it is compressed"
            raise ValueError(msg)


def _table(head: memoryview, table: int, field: int) -> int | None:
    """Return the position of a table that is a field of another table, None if it is missing."""
    (back,) = struct.unpack_from("<i", head, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", head, vtable)
    entry = 4 + 2 * field
    if entry >= size:
        return None
    (offset,) = struct.unpack_from("<H", head, vtable + entry)
    if not offset:
        return None
    (ahead,) = struct.unpack_from("<I", head, table + offset)
    return int(table + offset + ahead)
