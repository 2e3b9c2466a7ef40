"""The interface by which a task reads and writes blocks.

A task uses nothing but a port, so another engine can store blocks in another way, for example in an
object store.
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
    """Reads and writes the blocks of one task."""

    def read(self, sources: Sequence[BlockSource]) -> Iterable[Fetched]:
        """Give the rows of blocks in the order of ``sources``.

        Raises
        ------
        BlockUnavailable
            A block is missing, refused, or different from its receipt.
        """
        ...

    def write(self, key: TaskKey, parts: Sequence[pl.DataFrame]) -> BlockMeta:
        """Write all partitions of an attempt's output, or none, and return their receipt.

        Raises
        ------
        UnsupportedError
            A column has a dtype that blocks cannot hold.
        OSError
            There is no room for the block.
        """
        ...


@dataclass(frozen=True, slots=True)
class BlockFiles:
    """Blocks as files: written to a directory, mapped on their host, fetched from other hosts."""

    directory: Path
    fetch: FetchSettings

    def read(self, sources: Sequence[BlockSource]) -> Iterable[Fetched]:
        """Map or fetch blocks, and verify every byte."""
        return fetch_blocks(sources, settings=self.fetch)

    def write(self, key: TaskKey, parts: Sequence[pl.DataFrame]) -> BlockMeta:
        """Write the block as one file."""
        return write_block(self.directory, key, parts)
