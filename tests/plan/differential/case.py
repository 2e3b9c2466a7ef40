"""One query of the suite, and how its rows are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import polars as pl

Query = Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]
"""A query over the main table and the right one (`tables`)."""


class Case(NamedTuple):
    """A query. Without ``ordered`` Polars promises no order of its rows."""

    query: Query
    ordered: bool


def exact(query: Query) -> Case:
    """Return a query whose rows have an order."""
    return Case(query, ordered=True)


def bag(query: Query) -> Case:
    """Return a query whose rows have no order."""
    return Case(query, ordered=False)


def each(
    exprs: Mapping[str, pl.Expr], make: Callable[[pl.Expr], Case], prefix: str
) -> dict[str, Case]:
    """Return a case for each expression."""
    return {f"{prefix}: {name}": make(expr) for name, expr in exprs.items()}


def few(table: pl.LazyFrame) -> pl.LazyFrame:
    """Return the columns of the main table that most queries use; others cost time in a block."""
    names = ["id", "g", "k", "s", "f", "u", "b", "cat", "day", "at", "dec", "ls", "st"]
    return table.select(names)
