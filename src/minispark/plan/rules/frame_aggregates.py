"""Aggregates of all columns of a frame (`LazyFrame.sum` and the like) are selections of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from minispark.plan.columns import exact_column
from minispark.plan.polars_plan import Node, parse, schema_of, with_body
from minispark.plan.relation import Cutter, Relation

_Test = Callable[[pl.DataType], bool]


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


_TAKEN: Mapping[str, _Test] = {
    "Sum": lambda dtype: _is_number(dtype) or dtype == pl.Duration,
    "Min": lambda dtype: not dtype.is_nested(),
    "Max": lambda dtype: not dtype.is_nested(),
    "Std": _is_number,
    "Var": _is_number,
    "Median": lambda dtype: (_is_number(dtype) or dtype.is_temporal()) and not dtype.is_decimal(),
    "Mean": lambda dtype: _is_number(dtype) or dtype.is_temporal(),
}
"""The dtypes that each aggregate takes; columns of all others become null."""


def as_selection(
    cutter: Cutter, node: Node, relation: Relation
) -> tuple[Node, Callable[[Relation], Relation]] | None:
    """Return the selection of the aggregates, and what puts the null columns beside its row."""
    given: Any = node.body["function"]["Stats"]
    kind, options = (given, {}) if isinstance(given, str) else next(iter(given.items()))
    schema = cutter.schema(relation)
    if kind not in _TAKEN or pl.Object in schema.values():
        return None
    result = schema_of(node, {node.body["input"]: schema})
    taken = [name for name, dtype in schema.items() if _TAKEN[kind](dtype)]
    if not taken:
        return None
    values = [getattr(exact_column(name), kind.lower())(**options) for name in taken]
    selection = parse(pl.LazyFrame(schema=schema).select(values))

    def finish(row: Relation) -> Relation:
        columns = [
            exact_column(name) if name in taken else pl.lit(None, dtype).alias(name)
            for name, dtype in result.items()
        ]
        return cutter.then(row, lambda r: r.select(columns))

    return with_body(selection, input=node.body["input"]), finish
