"""What is known of a block without reading it, and the error of a block that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from minispark.bounds import Checksum, Count, Id, Items, Path
from minispark.errors import ErrorInfo
from minispark.ids import TaskKey

DATA_SUFFIX = ".arrow"
"""Suffix of the file of a block."""


@dataclass(frozen=True, slots=True)
class PartitionMeta:
    """One partition of a block: where it is in the file and what it must hold.

    ``checksum`` is xxh3-64 of the bytes; ``rows_checksum`` is the order-independent sum (mod
    2**64) of the row hashes, without the float columns, or None where the rows cannot be hashed.
    """

    offset: Count
    length: Count
    rows: Count
    checksum: Checksum
    rows_checksum: Checksum | None = None
    error: ErrorInfo | None = None
    """Why there are no more rows: a reader that needs more fails with this error."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Rows and row checksum of each partition, as the accepted attempt reported them."""

    rows: tuple[int, ...] = ()
    rows_checksums: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockMeta:
    """The index of a block, which the scheduler keeps and every reader checks."""

    partitions: Annotated[tuple[PartitionMeta, ...], Items]

    @property
    def rows(self) -> int:
        """Rows in all partitions."""
        return sum(part.rows for part in self.partitions)

    @property
    def receipt(self) -> Receipt:
        """The receipt of the attempt that wrote the block."""
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
    """One partition of one accepted block, and where to read it.

    ``directory`` is the block directory on ``host``, for readers on that host that may map files;
    ``url`` is the base URL of the worker that serves the block, None on the embedded engine.
    """

    key: TaskKey
    partition: Count
    meta: PartitionMeta
    host: Id
    directory: Path
    url: Id | None = None
    kept: TaskKey | None = None
    """The name of the block on the worker if its cache has it; else the name is ``key``."""

    @property
    def name(self) -> TaskKey:
        """The name of the file of the block."""
        return self.kept or self.key


class BlockUnavailable(Exception):  # noqa: N818 - a state of the world, not a mistake
    """A block is missing, refused or different from its receipt.

    The task that wrote the block must run again, for any reason. So the reason is only shown to
    people.
    """

    def __init__(self, key: TaskKey, reason: str) -> None:
        super().__init__(f"block {key.block_id}: {reason}")
        self.key = key
        self.reason = reason

    def __reduce__(self) -> tuple[type[BlockUnavailable], tuple[TaskKey, str]]:
        return type(self), (self.key, self.reason)
