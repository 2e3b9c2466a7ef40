"""Counters of the rows that a named DAG node gives; counting costs nothing measurable.

`counted` puts a `NodeCounter` into a plan. Projections pass the counter, filters and limits do
not: they would lower the count.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

_lock = threading.Lock()
_current: Counter[str] = Counter()


class NodeCounter:
    """Adds the height of every batch to the count of ``node`` in this process."""

    def __init__(self, node: str) -> None:
        self.node = node

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Count the rows and return them."""
        with _lock:
            _current[self.node] += batch.height
        return batch


def counted(frame: pl.LazyFrame, node: str) -> pl.LazyFrame:
    """Return ``frame`` with a counter of its rows named ``node``."""
    return frame.map_batches(
        NodeCounter(node),
        streamable=True,
        projection_pushdown=True,
        predicate_pushdown=False,
        slice_pushdown=False,
    )


def counts_so_far() -> dict[str, int]:
    """Return the counts of the running task; any thread may ask."""
    with _lock:
        return dict(_current)


def reset_counts() -> None:
    """Begin at zero."""
    with _lock:
        _current.clear()


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Collect the counts of one task. An executor runs one task at a time in its process."""
    reset_counts()
    yield _current
