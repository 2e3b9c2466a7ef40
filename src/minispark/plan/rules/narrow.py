"""Operators that look at one row at a time stay in the stage: no row moves."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from minispark.plan.expressions import is_constant, is_elementwise, is_separable
from minispark.plan.names import exact_columns
from minispark.plan.polars_plan import Node, children
from minispark.plan.pythons import cached_node, counted_node, hinted_partitions, uncounted
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.aggregate import select_aggregates
from minispark.plan.rules.whole import append, run_whole

_ROW_FUNCTIONS = frozenset({"Explode", "Rename", "Unnest"})
_HASHED = (pl.String, pl.Boolean, pl.Binary, pl.Date, pl.Datetime, pl.Duration, pl.Time)


def filter_rows(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Filter: in the stage if the predicate is separable."""
    (child,) = children(node)
    separable = is_separable(node.body["predicate"])
    if relations[child].single or separable:
        return _in_stage(cutter, node, relations[child], separable=separable)
    return run_whole(cutter, node, relations, why="the filter needs all rows")


def _in_stage(cutter: Cutter, node: Node, relation: Relation, *, separable: bool) -> Relation:
    """Append a node; one that looks at positions gets its rows in one order every time."""
    return append(node, relation if separable else cutter.settle(relation))


def with_columns(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """with_columns: in the stage if every expression gives one value a row from that row."""
    (child,) = children(node)
    separable = all(is_elementwise(body) for body in node.body["exprs"])
    if relations[child].single or separable:
        return _in_stage(cutter, node, relations[child], separable=separable)
    return run_whole(cutter, node, relations, why="a column needs all rows")


def select(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Select: in the stage, or aggregates in two steps, or whole."""
    (child,) = children(node)
    relation = relations[child]
    bodies = node.body["expr"]
    reads_rows = any(not is_constant(body) for body in bodies)
    rowwise = all(is_elementwise(body) for body in bodies)
    alone = len(bodies) == 1 and is_separable(bodies[0])
    separable = reads_rows and (rowwise or alone)
    if relation.single or separable:
        return _in_stage(cutter, node, relation, separable=separable)
    split = select_aggregates(cutter, node, relation)
    return split or run_whole(cutter, node, relations, why="a selected expression needs all rows")


def map_function(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Explode, rename, unnest and our own counters stay; our hints move rows; others run whole."""
    (child,) = children(node)
    relation = relations[child]
    wanted = hinted_partitions(node)
    if wanted is not None:
        return _repartition(cutter, child, relation, wanted)
    kept_for = cached_node(node)
    if kept_for is not None:
        return cutter.keep(relation, kept_for)
    function = node.body["function"]
    rowwise = isinstance(function, dict) and function.keys() <= _ROW_FUNCTIONS
    if rowwise or counted_node(node) is not None:
        return append(node, relation)
    if relation.single:
        return append(node, cutter.settle(relation))
    name = next(iter(function)) if isinstance(function, dict) else str(function)
    return run_whole(cutter, node, relations, why=f"{name} is not known to split")


def _repartition(cutter: Cutter, child: Node, relation: Relation, wanted: int) -> Relation:
    """Spread rows by content, so that a row computed again lands where it was."""
    if uncounted(child).kind == "Scan" and relation.partitions == wanted:
        return relation
    schema = cutter.schema(relation)
    names = [name for name, dtype in schema.items() if dtype.is_numeric() or dtype in _HASHED]
    if wanted == 1 or not names:
        return cutter.gather(relation, "repartition")
    return cutter.exchange(relation, exact_columns(names), partitions=wanted, name="repartition")
