"""Marks what somebody asked of rows on their way; the planner takes the marks out."""

from __future__ import annotations

import polars as pl


class PartitionHint:
    """Asks for ``partitions`` partitions of the rows below; changes nothing."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Pass on."""
        return batch


class CacheHint:
    """Asks to keep the rows below, under the name of the DAG node ``node``; changes nothing."""

    def __init__(self, node: str) -> None:
        self.node = node

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Pass on."""
        return batch


def partitioned(frame: pl.LazyFrame, partitions: int) -> pl.LazyFrame:
    """Return ``frame`` with a wish for a number of partitions."""
    return frame.map_batches(PartitionHint(partitions), streamable=True)


def cached(frame: pl.LazyFrame, node: str) -> pl.LazyFrame:
    """Return ``frame`` with the wish that its rows are kept for later jobs."""
    return frame.map_batches(CacheHint(node), streamable=True)
