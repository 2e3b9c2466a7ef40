"""What is known of a block without reading it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from minispark.bounds import Checksum, Count, Id, Items, Path
from minispark.errors import ErrorInfo
from minispark.ids import TaskKey

DATA_SUFFIX = ".arrow"
"""Of the file that holds the rows; it is named after the block."""


@dataclass(frozen=True, slots=True)
class PartitionMeta:
    """One partition of a block: where it lies in the file and what it must hold.

    ``checksum`` is xxh3-64 of the bytes; ``rows_checksum`` is the order-independent sum (mod
    2**64) of the row hashes, without the float columns, or None where the rows cannot be hashed.
    """

    offset: Count
    length: Count
    rows: Count
    checksum: Checksum
    rows_checksum: Checksum | None = None
    error: ErrorInfo | None = None
    """Why there are no more rows: a reader that needs more fails with this."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an accepted attempt promised: rows and order-independent row checksum per partition."""

    rows: tuple[int, ...] = ()
    rows_checksums: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockMeta:
    """The index of a block: the receipt that the scheduler keeps and every reader checks."""

    partitions: Annotated[tuple[PartitionMeta, ...], Items]

    @property
    def rows(self) -> int:
        """Rows in all partitions."""
        return sum(part.rows for part in self.partitions)

    @property
    def receipt(self) -> Receipt:
        """What the attempt that wrote it promised."""
        return Receipt(
            tuple([part.rows for part in self.partitions]),
            tuple([part.rows_checksum for part in self.partitions]),
        )

    @property
    def bytes(self) -> int:
        """Bytes of all partitions."""
        return sum(part.length for part in self.partitions)


@dataclass(frozen=True, slots=True)
class BlockSource:
    """One partition of one accepted block, and where to get it.

    ``directory`` is the block directory on ``host`` (mapped where the reader is on that host and
    may map); ``url`` is the base URL of the worker that serves it, None on the embedded engine.
    """

    key: TaskKey
    partition: Count
    meta: PartitionMeta
    host: Id
    directory: Path
    url: Id | None = None
    kept: TaskKey | None = None
    """The name under which it lies there, where that is not ``key``: a cache has kept it."""

    @property
    def name(self) -> TaskKey:
        """The name of its file."""
        return self.kept or self.key
