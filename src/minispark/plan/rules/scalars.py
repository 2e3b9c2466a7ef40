"""Aggregates of all rows: as one row, or beside rows, where each task gets their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.aggregates import split_aggregates
from minispark.plan.expressions import expand_all, is_order_free
from minispark.plan.markers import counted_node, uncounted
from minispark.plan.polars_plan import (
    LeafNode,
    Node,
    expression,
    parse,
    rewrite,
    schema_of,
    with_body,
)
from minispark.plan.relation import Cutter, Part, Relation, Schema
from minispark.plan.rules.operators import OperatorText
from minispark.plan.stages import Label

OPERATORS = (
    OperatorText(
        "`select` of aggregates",
        "one row of partial aggregates from each task, then the final row",
        "aggregates that do not decompose (median, quantile, mode)",
    ),
    OperatorText(
        "aggregates beside rows: `filter(col.x > col.x.mean())`, `col.x - col.x.mean()`",
        "the aggregate is computed as in `select`; its value goes to all tasks, and no row moves",
        "the columns of aggregates that do not decompose",
    ),
    OperatorText(
        "scalar subqueries of SQL: `WHERE x > (SELECT AVG(x) FROM t)`",
        "the value of the subquery goes to all tasks, and no row moves",
    ),
)

_WHOLE = "an aggregate needs all rows of its columns at once"


def select_aggregates(cutter: Cutter, node: Node, relation: Relation) -> Relation | None:
    """Aggregate each partition to one row, gather these rows, and aggregate them to one."""
    schema = cutter.schema(relation)
    bodies = expand_all(node.body["expr"], schema)
    if bodies is None:
        return None
    split = split_aggregates(bodies, schema, grouped=False)
    try:
        result = schema_of(node, {node.body["input"]: schema})
    except (PolarsError, PanicException):
        return None
    if split is None or not split.partial or len(result) != len(bodies):
        return None
    if split.ordered:
        relation = cutter.settle(relation)
    partials = cutter.then(relation, lambda rows: rows.select(split.partial))
    moved = cutter.gather(partials, "partial aggregate")
    outputs = split.named(result.items())
    return cutter.then(moved, lambda rows: rows.select(split.final).select(outputs))


def with_scalars(cutter: Cutter, relation: Relation, scalars: Mapping[str, Any]) -> Relation:
    """Add a column for each aggregate, which has its value in each row. No row moves.

    Aggregates in two steps bring one row of each partition together, others their columns.
    """
    if not is_order_free(list(scalars.values())):
        relation = cutter.settle(relation)
    relation, seen = read_twice(cutter, relation, "scalar input")
    schema = cutter.schema(seen)
    split = {name: body for name, body in scalars.items() if _splits(body, schema)}
    whole = {name: body for name, body in scalars.items() if name not in split}
    sides = []
    if split:
        sides.append(_in_two_steps(cutter, seen, schema, split))
    if whole:
        rows = cutter.gather(seen, "gather", why=_WHOLE)
        values = [expression(body).alias(name) for name, body in whole.items()]
        one = cutter.then(rows, lambda r: r.select(values))
        sides.append(cutter.broadcast(one, "scalars"))
    return relation.with_parts(lambda part: beside_each_row(cutter, part, sides))


def beside_rows(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation | None:
    """Put frames of one row beside every row of the first frame; None if another has more rows."""
    first, *others = node.body["inputs"]
    relation = relations[first]
    one_row = (_is_one_row(cutter, child, relations) for child in others)
    if not node.body["options"]["broadcast_unit_length"] or relation.single or not all(one_row):
        return None
    sides = [cutter.broadcast(relations[child], "scalars") for child in others]
    total = relation.bytes + sum(relations[child].bytes for child in others)
    beside = relation.with_parts(
        lambda part: part.under(
            with_body(node, inputs=[part.node, *(side.node for side in sides)]), *sides
        )
    )
    return replace(beside, bytes=total)


def _is_one_row(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> bool:
    """Whether a node has exactly one row: it selects nothing but single values."""
    selection = uncounted(node)
    if selection.kind != "Select":
        return False
    schema = cutter.schema(relations[selection.body["input"]])
    bodies = expand_all(selection.body["expr"], schema)
    return bool(bodies) and all(expression(body).meta.is_scalar() for body in bodies or ())


def _splits(body: Any, schema: Schema) -> bool:
    return split_aggregates([body], schema, grouped=False) is not None


def _in_two_steps(
    cutter: Cutter, rows: Relation, schema: Schema, scalars: Mapping[str, Any]
) -> Part:
    """Aggregate each partition to a row; every reader reads these rows and aggregates them.

    If the rows hold lists (of distinct values), one task aggregates them before others read them.
    """
    split = split_aggregates(list(scalars.values()), schema, grouped=False)
    assert split is not None  # noqa: S101 - each splits on its own
    values = [expression(body).alias(name) for name, body in scalars.items()]
    result = pl.LazyFrame(schema=schema).select(values).collect_schema()
    partials = cutter.then(rows, lambda r: r.select(split.partial))
    lists = any(dtype.is_nested() for dtype in cutter.schema(partials).values())
    side = cutter.read(cutter.close(partials, "partial aggregate"))
    outputs = split.named(result.items())
    final = cutter.then(side, lambda r: r.select(split.final).select(outputs))
    return cutter.broadcast(final, "scalars") if lists else final.only


def beside_each_row(cutter: Cutter, part: Part, sides: Sequence[Part]) -> Part:
    """Put the columns of frames of one row beside every row."""
    parts = [part, *sides]
    frames = [pl.LazyFrame(schema=cutter.schema(Relation((each,), 0))) for each in parts]
    node = parse(pl.concat(frames, how="horizontal"))
    options = {**node.body["options"], "strict": False, "broadcast_unit_length": True}
    top = with_body(node, inputs=[each.node for each in parts], options=options)
    return part.under(top, *sides)


def read_twice(cutter: Cutter, relation: Relation, name: str) -> tuple[Relation, Relation]:
    """Return rows for a stage and the same rows for a stage before it; computed once if dear.

    The second relation counts no rows of DAG nodes.
    """
    if not _cheap_twice(cutter, relation):
        relation = cutter.materialise(relation, name)
    seen = relation.with_parts(lambda part: replace(part, node=rewrite(part.node, _not_counted)))
    return relation, seen


def _not_counted(node: Node) -> Node:
    """Leave out a counter: the first stage reads rows that another stage counts."""
    below: Node = node if counted_node(node) is None else node.body["input"]
    return below


def _cheap_twice(cutter: Cutter, relation: Relation) -> bool:
    """Whether rows may be read twice: blocks as they are, Parquet files of which few are read."""
    if all(isinstance(part.node, LeafNode) and not part.scans for part in relation.parts):
        return True
    scans = [scan for part in relation.parts for scan in part.scans]
    columnar = all(scan.spec.format.in_rows for scan in scans)
    reads_stages = any(part.inputs for part in relation.parts)
    return columnar and not reads_stages and cutter.label(relation.parts) is Label.DETERMINATE
