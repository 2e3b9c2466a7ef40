"""group_by: partial, exchange, final; or rows by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from minispark.plan.aggregates import SplitAggregates, split_aggregates
from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.exchanges import STAMP
from minispark.plan.expressions import (
    expand_all,
    holds,
    is_constant,
    is_elementwise,
    is_order_free,
    names_of,
)
from minispark.plan.polars_plan import Node, expression, expression_body, schema_of, with_body
from minispark.plan.relation import Cutter, Relation, Schema, run_whole
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.places import in_order, stamped
from minispark.plan.rules.time_windows import time_windows

OPERATORS = (
    OperatorText(
        "`group_by(...).agg(...)`",
        "if every aggregate decomposes: partial groups in each task, exchanged by the keys, then "
        "final groups; else the rows are exchanged by the keys",
        "`map_groups` in order; an aggregate without keys that does not decompose",
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
    aggregates = [*body["aggs"], *body["predicates"]]
    if relation.single and body["apply"] is None and is_order_free(aggregates):
        return relation.under(node)
    if any(body["options"].values()):
        return time_windows(cutter, node, relations)
    grouping = None if relation.single else _grouping(node, cutter.schema(relation))
    if grouping is None:
        return run_whole(cutter, node, relations, why="group_by of a kind not known to split")
    split = None if body["apply"] else _split(grouping, body["predicates"])
    if split is not None:
        return _two_steps(cutter, relation, grouping, split, ordered=body["maintain_order"])
    return _by_key(cutter, node, relations, grouping)


def _split(grouping: _Grouping, predicates: Sequence[Any]) -> SplitAggregates | None:
    return split_aggregates(
        [*grouping.aggregates, *predicates],
        grouping.schema,
        names=grouping.names,
        grouped=bool(grouping.distributing),
    )


def _by_key(
    cutter: Cutter, node: Node, relations: Mapping[Node, Relation], grouping: _Grouping
) -> Relation:
    """Bring the rows of each group together, in their order."""
    relation, body = relations[node.body["input"]], node.body
    columns, ordered = grouping.distributing, body["maintain_order"]
    if not columns:
        why = "an aggregate without keys that needs all rows"
        return run_whole(cutter, node, relations, why=why)
    names = (*grouping.schema, *grouping.result)
    if ordered and (body["apply"] or STAMP in names or holds(body["predicates"], "Selector")):
        why = "groups in their order that give several rows or have no place"
        return run_whole(cutter, node, relations, why=why)
    aggregates = [*grouping.aggregates, *body["predicates"]]
    if ordered or body["apply"] or not is_order_free(aggregates):
        relation = cutter.settle(relation)
    node = with_body(node, keys=grouping.keys, aggs=grouping.aggregates)
    width = cutter.order_width(relation) if ordered else cutter.exchange_width(relation)
    if not ordered or width == 1:
        moved = cutter.exchange(relation, columns, partitions=width, name="group_by")
        return moved.under(node)
    rows = stamped(cutter, relation, columns, width=width, name="group_by")
    first = expression_body(exact_column(STAMP).min())
    groups = rows.under(with_body(node, aggs=[*grouping.aggregates, first]))
    return in_order(cutter, groups, tasks=relation.partitions, width=width)


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
    if aggregates is None:
        return None
    if node.body["apply"] is None and len(result) != len(keys) + len(aggregates):
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
    if ordered or split.ordered:
        relation = cutter.settle(relation)
    columns = exact_columns(grouping.names)
    pairs = zip(grouping.keys, grouping.names, strict=True)
    by = [expression(key).alias(name) for key, name in pairs]
    width = cutter.order_width(relation) if ordered else cutter.exchange_width(relation)
    width = width if grouping.distributing else 1
    # A partial row stands where its group begins, so its stamp is the place of the group.
    places = [exact_column(STAMP)] if ordered and width > 1 else []

    def partial(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.group_by(by, maintain_order=ordered).agg(split.partial)

    def final(rows: pl.LazyFrame) -> pl.LazyFrame:
        first = [place.min() for place in places]
        groups = rows.group_by(columns, maintain_order=ordered).agg(*split.final, *first)
        for predicate in split.outputs[len(grouping.aggregates) :]:
            groups = groups.filter(predicate)
        named = split.named(list(grouping.result.items())[len(columns) :])
        return groups.select([*columns, *named, *places])

    partials = cutter.then(relation, partial)
    name = "partial group_by"
    if not places:
        moved = cutter.exchange(partials, columns, partitions=width, name=name)
        return cutter.then(moved, final)
    moved = stamped(cutter, partials, columns, width=width, name=name)
    return in_order(cutter, cutter.then(moved, final), tasks=relation.partitions, width=width)
