"""How a block is stored on disk.

::

    <block directory>/             0700
      job-3f9a-1-7.2.0.5.0.arrow   0600  the partitions, one after another

Each partition is a complete Arrow IPC stream and begins at a multiple of 64 bytes, so that a
reader can map it without a copy. A partition without rows takes no bytes (every reader knows the
columns of what it reads), except partition 0, whose empty stream has the columns of an empty
result. Blocks are not compressed: writing LZ4 takes four times as long as the disk cache does, and
a mapped block must not be compressed.

The index of a block (where each partition begins, its rows and checksums) is the receipt that goes
with the report of the task into the journal (`BlockMeta`). It is not stored beside the block: the
proof must not be lost or damaged together with the block, and a second file takes a tenth of the
time of a task of a few rows.

The file is written under a temporary name and renamed: a file with the name of the block is
complete. Nothing is synced: after a power loss the checksums do not match and the task runs again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import polars as pl
import xxhash

from minispark.blocks.meta import DATA_SUFFIX, BlockMeta, PartitionMeta
from minispark.ids import TaskKey
from minispark.plan.columns import exact_column
from minispark.plan.serialization import check_columns

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

_ALIGNMENT = 64
"""Arrow's own recommendation: the widest vector registers."""
_ROW_SEED = 0x6D73_726F_7773
"""Not the seed of key hashes: the rows of one partition have equal key hashes modulo a number."""

SUFFIXES = (DATA_SUFFIX, DATA_SUFFIX + ".tmp")
"""The name of a block file is the id of the block and one of these suffixes."""


def bytes_checksum(data: bytes | memoryview) -> int:
    """Return xxh3-64 of ``data``."""
    return xxhash.xxh3_64_intdigest(data)


_NO_BYTES = bytes_checksum(b"")
EMPTY_BLOCK = BlockMeta((PartitionMeta(offset=0, length=0, rows=0, checksum=_NO_BYTES),))
"""The block of a task that gives no rows to other tasks; it has no file."""


def rows_checksum(frame: pl.DataFrame) -> int | None:
    """Return a checksum of the rows that does not depend on their order, None without such columns.

    It is the sum of the row hashes modulo 2**64. It is the only proof that a second run of a task
    whose rows come in any order gave the same rows. Float columns are left out: their last bits may
    differ from run to run. It takes 8 ns a row for three columns, a fifth of writing them.
    """
    # By position: a frame made of series renames one without a name.
    exact = [
        column.alias(str(position))
        for position, column in enumerate(frame.iter_columns())
        if _is_exact(column.dtype)
    ]
    if not exact:
        return None
    if frame.height == 0:
        return 0
    # Selecting the columns takes five times as long for a small frame.
    return int(pl.DataFrame(exact).hash_rows(seed=_ROW_SEED).sum())


def _is_exact(dtype: PolarsDataType) -> bool:
    match dtype:
        case pl.List() | pl.Array():
            return _is_exact(dtype.inner)
        case pl.Struct():
            return all(_is_exact(field.dtype) for field in dtype.fields)
        case _:
            return not dtype.is_float() and dtype != pl.Object


def write_block(
    directory: Path, key: TaskKey, parts: Sequence[pl.DataFrame], *, row_checksums: bool = True
) -> BlockMeta:
    """Write the partitions of an attempt's output and return their receipt.

    The file exists complete under its final name, or not at all.

    Raises
    ------
    UnsupportedError
        A column has a dtype that Arrow streams cannot hold.
    OSError
        The disk is full or refuses.
    """
    check_columns(parts[0].schema)
    block, staged = (directory / f"{key.block_id}{suffix}" for suffix in SUFFIXES)
    try:
        with _create(staged) as file:
            meta = _write_partitions(file, parts, row_checksums=row_checksums)
        staged.rename(block)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return meta


class _HashingWriter:
    """A file as Polars writes to it, with its position and the checksum of the written bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = xxhash.xxh3_64()
        self.position = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.position += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Do nothing: Polars writes small pieces and flushes often."""

    def begin(self) -> int:
        """Pad to the next boundary, reset the checksum, return the position."""
        padding = -self.position % _ALIGNMENT
        if padding:
            self.write(bytes(padding))
        self._digest.reset()
        return self.position

    def checksum(self) -> int:
        return self._digest.intdigest()


def _write_partitions(
    file: IO[bytes], parts: Sequence[pl.DataFrame], *, row_checksums: bool
) -> BlockMeta:
    writer = _HashingWriter(file)
    written = []
    for number, part in enumerate(parts):
        row_checksum = rows_checksum(part) if row_checksums else None
        if part.height == 0 and number > 0:
            written.append(PartitionMeta(writer.position, 0, 0, _NO_BYTES, row_checksum))
            continue
        offset = writer.begin()
        _with_valid_enums(part).write_ipc_stream(cast("IO[bytes]", writer))
        length = writer.position - offset
        written.append(PartitionMeta(offset, length, part.height, writer.checksum(), row_checksum))
    return BlockMeta(tuple(written))


def _create(path: Path) -> IO[bytes]:
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _with_valid_enums(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same rows, with the code of a category under every null of an Enum.

    If a group has only nulls, the streaming engine's ``min`` of an Enum leaves a code of no
    category under the null (Polars 2.1.0). Polars writes such a column unchanged, and refuses to
    read it again: "one of the dictionary keys is 255".
    """
    columns = [
        _valid_enum(exact_column(name), dtype)
        if isinstance(dtype, pl.Enum)
        else exact_column(name).cast(_as_text(dtype)).cast(dtype)
        for name, dtype in frame.schema.items()
        if _as_text(dtype) != dtype and (dtype.is_nested() or frame[name].null_count())
    ]
    return frame.with_columns(columns) if columns else frame


def _valid_enum(column: pl.Expr, dtype: pl.Enum) -> pl.Expr:
    codes = column.to_physical().fill_null(0)
    # An Enum without categories, which only nulls can have, has no code at all.
    if not len(dtype.categories):
        return pl.lit(None, dtype).alias(column.meta.output_name())
    return pl.when(column.is_not_null()).then(codes).cat.to(dtype)


def _as_text(dtype: PolarsDataType) -> PolarsDataType:
    """Return a dtype with text in place of every Enum."""
    match dtype:
        case pl.List():
            return pl.List(_as_text(dtype.inner))
        case pl.Array():
            return pl.Array(_as_text(dtype.inner), dtype.size)
        case pl.Struct():
            return pl.Struct({field.name: _as_text(field.dtype) for field in dtype.fields})
        case _:
            return pl.String() if isinstance(dtype, pl.Enum) else dtype
