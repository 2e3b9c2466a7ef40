"""How a task reads and writes blocks, on any block store.

A task knows a port only, so that another engine can keep blocks in another place: an object store
in shared memory, or one over the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from minispark.blocks.fetch import Fetched, FetchSettings, fetch_blocks
from minispark.blocks.format import write_block
from minispark.blocks.meta import BlockMeta, BlockSource
from minispark.ids import TaskKey


class BlockPort(Protocol):
    """Where the blocks of one task are."""

    def read(self, sources: Sequence[BlockSource]) -> Iterable[Fetched]:
        """Give the rows of blocks in the order asked.

        Raises
        ------
        BlockUnavailable
            One of them is gone, refused, or not what its receipt promises.
        """
        ...

    def write(self, key: TaskKey, parts: Sequence[pl.DataFrame]) -> BlockMeta:
        """Write the partitions of an attempt's output, whole or not at all; return their receipt.

        Raises
        ------
        UnsupportedError
            A column has a dtype that blocks cannot hold.
        OSError
            There is no room for them.
        """
        ...


@dataclass(frozen=True, slots=True)
class BlockFiles:
    """Blocks as files: written to a directory, mapped on their host, fetched from other hosts."""

    directory: Path
    fetch: FetchSettings

    def read(self, sources: Sequence[BlockSource]) -> Iterable[Fetched]:
        """Map or fetch blocks, and verify every byte that came over HTTP."""
        return fetch_blocks(sources, settings=self.fetch)

    def write(self, key: TaskKey, parts: Sequence[pl.DataFrame]) -> BlockMeta:
        """Write one file."""
        return write_block(self.directory, key, parts)
