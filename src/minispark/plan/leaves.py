"""Leaves: what stands in a fragment for rows that come from another stage or from files.

There are two kinds, one for each time of a fragment's life.

- `PlanningLeaf` is a `LazyFrameResolver`. Polars' optimizer calls it with the projection, filters
  and limit that the rows below may be cut down to, and the planner listens.
- `Leaf` stands in fragments that run. Polars replaces it with the rows bound to its name before it
  optimizes, so that the fragment is optimized and runs like a query over these rows.

A fragment never runs with a `PlanningLeaf`: Polars' streaming engine takes the columns of a
resolver for its whole schema after the optimizer has dropped some (``docs/polars-resolver.md``).

Covers: the leaves and their binding. Does not cover: what the planner does with what a leaf
was asked (`pushdown`), how blocks and files become frames (`minispark.task`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars.lazyframe.resolver import FilterExpr, LazyFrameResolver

Binding = Callable[[pl.Schema], pl.LazyFrame]
"""Returns rows with the columns and dtypes of the schema, in that order."""


@dataclass(frozen=True, slots=True)
class LeafAsk:
    """What one use of a leaf was asked for. ``columns`` are those the user of the leaf needs."""

    leaf: str
    columns: tuple[str, ...] | None
    filters: tuple[bytes, ...]


# Of the process, not of a context: Polars resolves in any thread. An executor runs one task at a
# time; planners take turns.
_bound: list[Mapping[str, Binding]] = []
_asked: list[list[LeafAsk]] = []
_listening = threading.Lock()


@dataclass(frozen=True, slots=True)
class Leaf:
    """A named input of a fragment that runs, with the columns that it had at planning."""

    name: str
    schema: Mapping[str, pl.DataType]

    def lazy(self) -> pl.LazyFrame:
        """Return a plan that is only this leaf."""
        empty = pl.LazyFrame(schema=self.schema)._ldf
        # The public `pipe_with_schema` wraps the callback in a closure, which is pickled as code.
        return pl.LazyFrame._from_pyldf(empty.pipe_with_schema(LeafCallback(self.name)))


class LeafCallback:
    """What Polars calls for the rows of a leaf; pickled by reference inside plans."""

    def __init__(self, leaf: str) -> None:
        self.leaf = leaf

    def __call__(self, frames_and_schemas: tuple[Any, Any]) -> Any:
        """Return the bound rows in the form that Polars takes from `pipe_with_schema`.

        Where nothing runs, as when a fragment is explained, these are no rows.

        Raises
        ------
        KeyError
            A task runs that binds nothing to the leaf.
        """
        (empty,), (columns,) = frames_and_schemas
        return _bound[-1][self.leaf](pl.Schema(columns))._ldf if _bound else empty


class PlanningLeaf(LazyFrameResolver):
    """A leaf while the planner works: it keeps what the optimizer asks for, and is always empty."""

    def __init__(self, name: str, schema: Mapping[str, pl.DataType]) -> None:
        self.name = name
        self.columns = dict(schema)

    def schema(self) -> dict[str, pl.DataType]:
        """Return columns and dtypes."""
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
                )
            )
        # No column at all is asked of a leaf that only says how many rows there are.
        names = projection or list(self.columns)
        return pl.LazyFrame(schema={name: self.columns[name] for name in names})


@contextmanager
def bind(frames: Mapping[str, Binding]) -> Iterator[None]:
    """Replace leaves with ``frames[name](schema)`` in plans that run within the block."""
    _bound.append(frames)
    try:
        yield
    finally:
        _bound.pop()


@contextmanager
def listen() -> Iterator[list[LeafAsk]]:
    """Collect what planning leaves are asked within the block."""
    asked: list[LeafAsk] = []
    with _listening:
        _asked.append(asked)
        try:
            yield asked
        finally:
            _asked.pop()
