"""Leaves: what stands in a fragment for rows that come from another stage or from files.

There are two kinds of leaf, one for each time of a fragment's life.

- `PlanningLeaf` is a `LazyFrameResolver`. Polars' optimizer calls it with the projection and the
  filters to which the rows of the leaf may be reduced, and the planner collects these requests.
- `Leaf` stands in fragments that run. Polars replaces it with the rows bound to its name before it
  optimizes, so a fragment is optimized and runs like a query over these rows.

A fragment never runs with a `PlanningLeaf`: after the optimizer has dropped columns, Polars'
streaming engine takes the remaining columns of a resolver for its whole schema
(``docs/polars-resolver.md``).

Covers: the leaves and their binding. Does not cover: what the planner does with the requests to a
leaf (`pushdown`), how blocks and files become frames (`minispark.task`).
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
"""Returns rows with the columns and dtypes of a schema, in that order."""


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """What one use of a leaf needs: ``columns``, None for all, of rows that pass ``filters``."""

    leaf: str
    columns: tuple[str, ...] | None
    filters: tuple[pl.Expr, ...]


# Of the process, not of a context: Polars resolves in any thread. An executor runs one task at a
# time; planners take turns.
_bound: list[Mapping[str, Binding]] = []
_requests: list[list[LeafRequest]] = []
_collecting = threading.Lock()


@dataclass(frozen=True, slots=True)
class Leaf:
    """A named input of a fragment that runs, with the columns that it had at planning time."""

    name: str
    schema: Mapping[str, pl.DataType]

    def lazy(self) -> pl.LazyFrame:
        """Return a plan that is only this leaf."""
        empty = pl.LazyFrame(schema=self.schema)._ldf
        # The public `pipe_with_schema` wraps the callback in a closure, which is pickled as code.
        return pl.LazyFrame._from_pyldf(empty.pipe_with_schema(LeafCallback(self.name)))


class LeafCallback:
    """The function that Polars calls for the rows of a leaf; pickled by reference inside plans."""

    def __init__(self, leaf: str) -> None:
        self.leaf = leaf

    def __call__(self, frames_and_schemas: tuple[Any, Any]) -> Any:
        """Return the bound rows in the form that Polars takes from `pipe_with_schema`.

        There are no rows if no task runs, for example when a fragment is explained.

        Raises
        ------
        KeyError
            The task binds nothing to the leaf.
        """
        (empty,), (columns,) = frames_and_schemas
        return _bound[-1][self.leaf](pl.Schema(columns))._ldf if _bound else empty


class PlanningLeaf(LazyFrameResolver):
    """A leaf at planning time: it has no rows, and notes what the optimizer asks of it."""

    def __init__(self, name: str, schema: Mapping[str, pl.DataType]) -> None:
        self.name = name
        self.columns = dict(schema)

    def schema(self) -> dict[str, pl.DataType]:
        """Return columns and dtypes."""
        return self.columns

    def resolve_lazyframe(
        self, *, projection: list[str] | None, filters: list[FilterExpr], **_: object
    ) -> pl.LazyFrame:
        """Return the columns of the projection. Polars keeps the filters above the leaf."""
        if _requests:
            columns = None if projection is None else tuple(projection)
            request = LeafRequest(self.name, columns, tuple(entry.expr for entry in filters))
            _requests[-1].append(request)
        # The projection is empty where only the number of rows counts.
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
def collect_requests() -> Iterator[list[LeafRequest]]:
    """Collect what the optimizer asks of planning leaves within the block."""
    requests: list[LeafRequest] = []
    with _collecting:
        _requests.append(requests)
        try:
            yield requests
        finally:
            _requests.pop()
