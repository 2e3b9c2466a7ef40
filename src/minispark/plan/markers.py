"""Marks the number of partitions that somebody asked for; the planner takes the mark out."""

from __future__ import annotations

import polars as pl

__all__ = ["PartitionHint", "partitioned"]


class PartitionHint:
    """Asks for ``partitions`` partitions of the rows below; changes nothing."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Pass on."""
        return batch


def partitioned(frame: pl.LazyFrame, partitions: int) -> pl.LazyFrame:
    """Return ``frame`` with a wish for a number of partitions."""
    return frame.map_batches(PartitionHint(partitions), streamable=True)
