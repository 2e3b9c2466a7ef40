"""Counts the rows out of a named DAG node, at no cost worth measuring.

A `NodeCounter` is put into a plan with `counted`. It lets projections through, but no filter or
limit: a count that those could lower would lie.
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
        """Count and pass on."""
        with _lock:
            _current[self.node] += batch.height
        return batch


def counted(frame: pl.LazyFrame, node: str) -> pl.LazyFrame:
    """Return ``frame`` with a counter named ``node`` on its output."""
    return frame.map_batches(
        NodeCounter(node),
        streamable=True,
        projection_pushdown=True,
        predicate_pushdown=False,
        slice_pushdown=False,
    )


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Collect the counts of one task. One at a time in a process: an executor runs one task."""
    with _lock:
        _current.clear()
    yield _current
