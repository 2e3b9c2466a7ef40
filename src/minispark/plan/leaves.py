"""Leaves: what stands in a fragment for rows that come from elsewhere.

A `Leaf` is a `LazyFrameResolver`. While planning, Polars' optimizer calls it with the
projection, filters and limit that the rows below may be cut down to; it notes them. In an
executor it resolves to the frame bound under its name.

Covers: the leaf node and its two uses. Does not cover: what the planner does with what a leaf
was asked (`pushdown`), how blocks and files become frames (`minispark.task`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
from polars.lazyframe.resolver import FilterExpr, LazyFrameResolver

__all__ = ["Binding", "Leaf", "LeafAsk", "bind", "listen"]

Binding = Callable[[pl.Schema], pl.LazyFrame]


@dataclass(frozen=True, slots=True)
class LeafAsk:
    """What one use of a leaf was asked for. ``columns`` are those the user of the leaf needs."""

    leaf: str
    columns: tuple[str, ...] | None
    filters: tuple[bytes, ...]
    limit: int | None


# Of the process, not of a context: Polars resolves in any thread, and a leaf that found nothing
# there would silently be empty. An executor runs one task at a time; planners take turns.
_bound: list[Mapping[str, Binding]] = []
_asked: list[list[LeafAsk]] = []
_listening = threading.Lock()


class Leaf(LazyFrameResolver):
    """A named input of a fragment with a pinned schema. Pickled by reference inside plans."""

    def __init__(self, name: str, schema: Mapping[str, pl.DataType]) -> None:
        self.name = name
        self.columns = dict(schema)

    def schema(self) -> dict[str, pl.DataType]:
        """Columns and dtypes, as they were at planning."""
        return self.columns

    def resolve_lazyframe(
        self,
        *,
        projection: list[str] | None,
        limit: int | None,
        filters: list[FilterExpr],
        filter_columns: list[str],
        filter_drop_columns_idx: int | None,
        existing_resolved_version_key: str | None,
    ) -> pl.LazyFrame:
        """Answer the optimizer. Filters are never applied here: Polars keeps them above."""
        if _asked:
            _asked[-1].append(
                LeafAsk(
                    leaf=self.name,
                    columns=None if projection is None else tuple(projection),
                    filters=tuple(f.expr.meta.serialize() for f in filters),
                    limit=limit,
                )
            )
        if _bound:
            frame = _bound[-1][self.name](pl.Schema(self.columns))
        else:
            frame = pl.LazyFrame(schema=self.columns)
        # No column at all is asked of a leaf that only tells how many rows there are.
        if projection == []:
            return frame
        return frame.select(list(self.columns) if projection is None else projection)


@contextmanager
def bind(frames: Mapping[str, Binding]) -> Iterator[None]:
    """Resolve leaves to ``frames[name](schema)`` within the block."""
    _bound.append(frames)
    try:
        yield
    finally:
        _bound.pop()


@contextmanager
def listen() -> Iterator[list[LeafAsk]]:
    """Collect what leaves are asked within the block."""
    asked: list[LeafAsk] = []
    with _listening:
        _asked.append(asked)
        try:
            yield asked
        finally:
            _asked.pop()
