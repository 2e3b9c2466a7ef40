"""group_by and selected aggregates: partial, exchange, final."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.aggregates import SplitAggregates, split_aggregates
from minispark.plan.columns import exact_columns
from minispark.plan.expressions import (
    expand_all,
    is_constant,
    is_elementwise,
    is_order_free,
    names_of,
)
from minispark.plan.polars_plan import Node, expression, schema_of, with_body
from minispark.plan.relation import Cutter, Relation, Schema, run_whole
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`group_by(...).agg(...)`",
        "if every aggregate decomposes: partial groups in each task, exchanged by the keys, then "
        "final groups; else the rows are exchanged by the keys",
        "`group_by_dynamic`, `rolling`, `map_groups`; `maintain_order=True` with an aggregate that "
        "does not decompose",
    ),
    OperatorText(
        "`select` of aggregates",
        "one row of partial aggregates from each task, then the final row",
        "aggregates that do not decompose (median, quantile, mode)",
    ),
)


@dataclass(frozen=True, slots=True)
class _Grouping:
    """A group_by with its selectors expanded, and the columns before and after it."""

    keys: list[Any]
    names: list[str]
    """Of the keys."""
    aggregates: list[Any]
    schema: Schema
    result: Schema

    @property
    def distributing(self) -> list[pl.Expr]:
        """The keys that may differ between rows; without any, all rows are one group.

        Polars makes a group of a constant key even if there are no rows, so such a group_by must
        not run on an empty partition.
        """
        return [expression(key) for key in self.keys if not is_constant(key)]


def group_by(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Partial and final if every aggregate splits; else rows by key, whole per partition."""
    relation, body = relations[node.body["input"]], node.body
    if relation.single and body["apply"] is None and is_order_free(body["aggs"]):
        return relation.under(node)
    plain = body["apply"] is None and not any(body["options"].values())
    splits = plain and not relation.single
    grouping = _grouping(node, cutter.schema(relation)) if splits else None
    if grouping is None:
        return run_whole(cutter, node, relations, why="group_by of a kind not known to split")
    aggregates = [*grouping.aggregates, *body["predicates"]]
    split = split_aggregates(aggregates, grouping.schema, keys=grouping.names)
    if split is not None:
        return _two_steps(cutter, relation, grouping, split, ordered=body["maintain_order"])
    if body["maintain_order"]:
        return run_whole(cutter, node, relations, why="group_by that keeps order")
    if not is_order_free(grouping.aggregates):
        relation = cutter.settle(relation)
    columns = grouping.distributing
    width = cutter.exchange_width(relation) if columns else 1
    moved = cutter.exchange(relation, columns, partitions=width, name="group_by")
    return moved.under(with_body(node, keys=grouping.keys))


def _grouping(node: Node, schema: Schema) -> _Grouping | None:
    """Expand the selectors of a group_by; None if it cannot be split."""
    result = schema_of(node, {node.body["input"]: schema})
    keys = expand_all(node.body["keys"], schema)
    if keys is None or not all(is_elementwise(key) for key in keys):
        return None
    names = names_of(keys, schema)
    if names is None:
        return None
    aggregates = expand_all(node.body["aggs"], schema, without=names)
    if aggregates is None or len(result) != len(keys) + len(aggregates):
        return None
    return _Grouping(keys, names, aggregates, schema, result)


def _two_steps(
    cutter: Cutter,
    relation: Relation,
    grouping: _Grouping,
    split: SplitAggregates,
    *,
    ordered: bool,
) -> Relation:
    columns = exact_columns(grouping.names)
    pairs = zip(grouping.keys, grouping.names, strict=True)
    by = [expression(key).alias(name) for key, name in pairs]

    def partial(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.group_by(by, maintain_order=ordered).agg(split.partial)

    def final(rows: pl.LazyFrame) -> pl.LazyFrame:
        groups = rows.group_by(columns, maintain_order=ordered).agg(split.final)
        for predicate in split.outputs[len(grouping.aggregates) :]:
            groups = groups.filter(predicate)
        return groups.select([*columns, *_named(split, grouping.result, skip=len(columns))])

    width = cutter.exchange_width(relation) if grouping.distributing and not ordered else 1
    partials = cutter.then(relation, partial)
    moved = cutter.exchange(partials, columns, partitions=width, name="partial group_by")
    return cutter.then(moved, final)


def _named(split: SplitAggregates, result: Schema, *, skip: int) -> list[pl.Expr]:
    """Name the outputs and give them the dtypes that Polars gives them in one step."""
    columns = list(result.items())[skip:]
    return [
        output.cast(dtype).alias(name)
        for output, (name, dtype) in zip(split.outputs, columns, strict=False)
    ]


def select_aggregates(cutter: Cutter, node: Node, relation: Relation) -> Relation | None:
    """Aggregate each partition to one row, gather these rows, and aggregate them to one."""
    schema = cutter.schema(relation)
    bodies = expand_all(node.body["expr"], schema)
    if bodies is None:
        return None
    split = split_aggregates(bodies, schema, keys=())
    try:
        result = schema_of(node, {node.body["input"]: schema})
    except (PolarsError, PanicException):
        return None
    if split is None or len(result) != len(bodies):
        return None
    partials = cutter.then(relation, lambda rows: rows.select(split.partial))
    moved = cutter.gather(partials, "partial aggregate")
    outputs = _named(split, result, skip=0)
    return cutter.then(moved, lambda rows: rows.select(split.final).select(outputs))
