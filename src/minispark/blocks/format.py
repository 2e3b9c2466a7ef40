"""How a block lies on disk.

::

    <block directory>/             0700
      job-3f9a-1-7.2.0.5.0.arrow   0600  the partitions, one after another

Each partition is a complete Arrow IPC stream and begins at a multiple of 64 bytes, so that a
reader can map it without a copy. A partition without rows takes no bytes (every reader knows the
columns of what it reads), but for partition 0, whose empty stream still tells the columns of an
empty result. Uncompressed: LZ4 takes four times as long to write as the disk cache does, and a
mapped block must not be.

Its index, where each partition begins, its rows and checksums, is the receipt that goes with the
task's report into the journal (`BlockMeta`). It does not lie beside the block: what every reader
is to believe must not be lost or harmed together with what it vouches for, and a second file
costs a task of a few rows a tenth of its time.

The file is written under a temporary name and renamed: what has the block's name was finished.
Nothing is synced: after a power loss the checksums find out and the task runs again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import polars as pl
import xxhash

from minispark.blocks.checksums import bytes_checksum, rows_checksum
from minispark.blocks.enums import with_valid_codes
from minispark.blocks.meta import DATA_SUFFIX, BlockMeta, PartitionMeta
from minispark.ids import TaskKey
from minispark.plan.serialization import check_columns

if TYPE_CHECKING:
    pass

_ALIGNMENT = 64
"""Arrow's own recommendation: the widest vector registers."""

SUFFIXES = (DATA_SUFFIX, DATA_SUFFIX + ".tmp")
"""Every name that a block can have on disk begins with its id and ends with one of these."""

_NO_BYTES = bytes_checksum(b"")
EMPTY_BLOCK = BlockMeta((PartitionMeta(offset=0, length=0, rows=0, checksum=_NO_BYTES),))
"""The block of a task that delivers no rows to other tasks; there is no file."""


def write_block(
    directory: Path, key: TaskKey, parts: Sequence[pl.DataFrame], *, row_checksums: bool = True
) -> BlockMeta:
    """Write the partitions of an attempt's output and return their receipt.

    The file is there under its final name, whole, or not at all.

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
    """A file as Polars writes to it; knows how far it is and the checksum of what it wrote."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = xxhash.xxh3_64()
        self.position = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.position += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Leave it to the end of the file: Polars writes small pieces and flushes often."""

    def begin(self) -> int:
        """Pad to the next boundary, forget the checksum, return the position."""
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
        checked = rows_checksum(part) if row_checksums else None
        if part.height == 0 and number > 0:
            written.append(PartitionMeta(writer.position, 0, 0, _NO_BYTES, checked))
            continue
        offset = writer.begin()
        with_valid_codes(part).write_ipc_stream(cast("IO[bytes]", writer))
        length = writer.position - offset
        written.append(PartitionMeta(offset, length, part.height, writer.checksum(), checked))
    return BlockMeta(tuple(written))


def _create(path: Path) -> IO[bytes]:
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")
