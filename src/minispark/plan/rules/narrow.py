"""Operators that move no row: operators on one row at a time, and union."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.counters import NodeCounter
from minispark.plan.expressions import (
    fills_by_row,
    is_constant,
    is_elementwise,
    is_row_function,
    is_separable,
)
from minispark.plan.markers import CacheHint, PartitionHint, marker_of, uncounted
from minispark.plan.polars_plan import Node, children, schema_of
from minispark.plan.relation import Cutter, Part, Relation, Schema, merge, run_whole
from minispark.plan.rules.frame_aggregates import as_selection
from minispark.plan.rules.numbers import row_index, select_by_number
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.scalars import select_aggregates
from minispark.plan.rules.steps import in_steps
from minispark.plan.rules.top import select_top
from minispark.plan.rules.window import windows

OPERATORS = (
    OperatorText(
        "`filter`, `select`, `with_columns` of expressions by row; `drop`, `rename`, `cast`",
        "in the task that has the rows; no row moves",
        "other expressions that need all rows, such as `ewm_mean` and `sort` of a column",
    ),
    OperatorText(
        "`explode`, `unnest`, `drop_nulls`", "in the task that has the rows; no row moves"
    ),
    OperatorText(
        "`pl.concat` vertical, relaxed, diagonal",
        "the partitions of the inputs one after another; no row moves",
    ),
    OperatorText("`map_batches`", "not split", "its input: the function may need all rows"),
)

_HASHED = (pl.String, pl.Boolean, pl.Binary, pl.Date, pl.Datetime, pl.Duration, pl.Time)


def filter_rows(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Filter: in the stage if the predicate is separable."""
    relation = relations[node.body["input"]]
    if is_separable(node.body["predicate"]):
        return relation.under(node)
    split = windows(cutter, node, relation, "predicate")
    split = split or in_steps(cutter, node, relation, "predicate")
    return split or run_whole(cutter, node, relations, why="the filter needs all rows")


def with_columns(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """with_columns: in the stage if every expression gives one value a row from that row."""
    relation = relations[node.body["input"]]
    if all(is_elementwise(body) for body in node.body["exprs"]):
        return relation.under(node)
    split = windows(cutter, node, relation, "exprs")
    split = split or in_steps(cutter, node, relation, "exprs")
    return split or run_whole(cutter, node, relations, why="a column needs all rows")


def select(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Select: in the stage, or aggregates in two steps, or whole."""
    relation, bodies = relations[node.body["input"]], node.body["expr"]
    reads_rows = any(not is_constant(body) for body in bodies)
    rowwise = all(is_elementwise(body) for body in bodies)
    alone = len(bodies) == 1 and is_separable(bodies[0])
    if reads_rows and (rowwise or alone):
        return relation.under(node)
    split = None if relation.single else select_aggregates(cutter, node, relation)
    split = split or windows(cutter, node, relation, "expr")
    split = split or select_by_number(cutter, node, relation) or select_top(cutter, node, relation)
    split = split or in_steps(cutter, node, relation, "expr")
    return split or run_whole(cutter, node, relations, why="a selected expression needs all rows")


def map_function(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Explode, rename, unnest and our own counters stay; our hints move rows; others run whole."""
    child, function = node.body["input"], node.body["function"]
    match marker_of(node):
        case PartitionHint(partitions=partitions):
            return _repartition(cutter, child, relations[child], partitions)
        case CacheHint(node=name):
            return cutter.keep(relations[child], name)
        case NodeCounter():
            return relations[child].under(node)
    if is_row_function(function):
        return relations[child].under(node)
    if isinstance(function, dict) and "RowIndex" in function:
        return row_index(cutter, node, relations)
    if isinstance(function, dict) and "Stats" in function:
        selection = as_selection(cutter, node, relations[child])
        if selection is not None:
            return selection[1](select(cutter, selection[0], relations))
    name = next(iter(function)) if isinstance(function, dict) else str(function)
    return run_whole(cutter, node, relations, why=f"{name} cannot be split")


def match_to_schema(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Match columns: in the stage, unless a missing column is computed from all rows."""
    if fills_by_row(node.body["per_column"]):
        return relations[node.body["input"]].under(node)
    return run_whole(cutter, node, relations, why="a missing column may need all rows")


def _repartition(cutter: Cutter, child: Node, relation: Relation, partitions: int) -> Relation:
    """Spread rows by content, so that a row that is computed again goes to the same partition."""
    if uncounted(child).kind == "Scan" and relation.partitions == partitions:
        return relation
    schema = cutter.schema(relation)
    names = [name for name, dtype in schema.items() if dtype.is_numeric() or dtype in _HASHED]
    if partitions == 1 or not names:
        return cutter.gather(relation, "repartition")
    keys = exact_columns(names)
    return cutter.exchange(relation, keys, partitions=partitions, name="repartition")


def union(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Put the partitions of all inputs one after another, with the columns of the result."""
    inputs = [relations[child] for child in node.body["inputs"]]
    total = sum(relation.bytes for relation in inputs)
    if all(relation.single for relation in inputs) and total <= cutter.settings.single_task_bytes:
        return merge(node, relations)
    schemas = {child: cutter.schema(relations[child]) for child in children(node)}
    result = schema_of(node, schemas)
    parts: list[Part] = []
    for child in node.body["inputs"]:
        # Beside frames with columns, Polars takes no rows from a frame without.
        if schemas[child] or not result:
            parts += [_with_schema(part, schemas[child], result) for part in relations[child].parts]
    return Relation(tuple(parts), total)


def _with_schema(part: Part, schema: Schema, result: Schema) -> Part:
    if list(schema.items()) == list(result.items()):
        return part
    columns = [
        exact_column(name).cast(dtype) if name in schema else pl.lit(None, dtype).alias(name)
        for name, dtype in result.items()
    ]
    return part.then(schema, lambda rows: rows.select(columns))
