"""How a block lies on disk.

::

    <block directory>/             0700
      job-3f9a-1-7.2.0.5.0.arrow   0600  the partitions, one after another
      job-3f9a-1-7.2.0.5.0.idx     0600  JSON: where each begins, its rows and checksums

Each partition is a complete Arrow IPC stream and begins at a multiple of 64 bytes, so that a
reader can map it without a copy. A partition without rows takes no bytes (every reader knows the
columns of what it reads), but for partition 0, whose empty stream still tells the columns of an
empty result. Uncompressed: LZ4 takes four times as long to write as the disk cache does, and a
mapped block must not be.

Both files are written under temporary names and renamed, the index first: who sees the data
sees the index too, and a block without data was never finished. Nothing is synced: after a power
loss the checksums find out and the task runs again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import polars as pl
import xxhash

from minispark.blocks.checksums import bytes_checksum, rows_checksum
from minispark.blocks.errors import BlockUnavailable
from minispark.blocks.meta import DATA_SUFFIX, BlockMeta, PartitionMeta
from minispark.errors import UnsupportedError
from minispark.ids import TaskKey

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

__all__ = ["EMPTY_BLOCK", "INDEX_SUFFIX", "SUFFIXES", "read_index", "write_block"]

_VERSION = 1
_ALIGNMENT = 64
"""Arrow's own recommendation: the widest vector registers."""

INDEX_SUFFIX = ".idx"
_TEMPORARY = ".tmp"
SUFFIXES = (DATA_SUFFIX, INDEX_SUFFIX, DATA_SUFFIX + _TEMPORARY, INDEX_SUFFIX + _TEMPORARY)
"""Every name that a block can have on disk begins with its id and ends with one of these."""

_NO_BYTES = bytes_checksum(b"")
EMPTY_BLOCK = BlockMeta((PartitionMeta(offset=0, length=0, rows=0, checksum=_NO_BYTES),))
"""The block of a task that delivers no rows to other tasks; there is no file."""


def write_block(
    directory: Path, key: TaskKey, parts: Sequence[pl.DataFrame], *, row_checksums: bool = True
) -> BlockMeta:
    """Write the partitions of an attempt's output and return their receipt.

    Either both files are there under their final names, or none is.

    Raises
    ------
    UnsupportedError
        A column has a dtype that Arrow streams cannot hold.
    OSError
        The disk is full or refuses.
    """
    _check_dtypes(parts[0].schema)
    data, index, staged_data, staged_index = (
        directory / f"{key.block_id}{suffix}" for suffix in SUFFIXES
    )
    try:
        with _create(staged_data) as file:
            meta = _write_partitions(file, parts, row_checksums=row_checksums)
        with _create(staged_index) as file:
            file.write(_index_bytes(key, meta))
        staged_index.rename(index)
        staged_data.rename(data)
    except BaseException:
        for path in (staged_data, staged_index, index):
            path.unlink(missing_ok=True)
        raise
    return meta


def read_index(directory: Path, key: TaskKey) -> BlockMeta:
    """Read a block's receipt back from its index file.

    Raises
    ------
    BlockUnavailable
        There is no index, or it is not what was written for this key.
    """
    path = directory / f"{key.block_id}{INDEX_SUFFIX}"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BlockUnavailable(key, f"no index: {error.strerror}") from error
    try:
        outer = json.loads(raw)
        body = outer["index"]
        if outer["checksum"] != bytes_checksum(_canonical(body)):
            raise BlockUnavailable(key, "the index is corrupt")
        if (body["version"], body["block"]) != (_VERSION, key.block_id):
            raise BlockUnavailable(key, "the index belongs to another block or version")
        return BlockMeta(tuple(PartitionMeta(*entry) for entry in body["partitions"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BlockUnavailable(key, "the index cannot be read") from error


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
        part.write_ipc_stream(cast("IO[bytes]", writer))
        length = writer.position - offset
        written.append(PartitionMeta(offset, length, part.height, writer.checksum(), checked))
    return BlockMeta(tuple(written))


def _create(path: Path) -> IO[bytes]:
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _index_bytes(key: TaskKey, meta: BlockMeta) -> bytes:
    body = {
        "version": _VERSION,
        "block": key.block_id,
        "partitions": [
            [part.offset, part.length, part.rows, part.checksum, part.rows_checksum]
            for part in meta.partitions
        ],
    }
    text = _canonical(body)
    return b'{"index":' + text + b',"checksum":' + str(bytes_checksum(text)).encode() + b"}"


def _canonical(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _check_dtypes(schema: pl.Schema) -> None:
    for name, dtype in schema.items():
        if not _fits_stream(dtype):
            msg = f"column {name!r} has dtype {dtype}, which cannot travel between tasks"
            raise UnsupportedError(msg)


def _fits_stream(dtype: PolarsDataType) -> bool:
    match dtype:
        case pl.Array(size=0):
            return False
        case pl.List() | pl.Array():
            return _fits_stream(dtype.inner)
        case pl.Struct():
            return all(_fits_stream(field.dtype) for field in dtype.fields)
        case _:
            return dtype != pl.Object
