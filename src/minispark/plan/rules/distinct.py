"""Distinct rows: drop local duplicates, exchange by the columns that must differ, drop again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from minispark.plan.columns import exact_columns
from minispark.plan.expressions import expand_all, is_elementwise
from minispark.plan.labels import settled_node
from minispark.plan.polars_plan import Node, expression
from minispark.plan.relation import Cutter, Relation, Schema, run_whole
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`unique`",
        "each task drops its duplicates; the rows are exchanged by the columns that must differ, "
        "and dropped again",
        "`maintain_order=True`; columns of lists, arrays or structs",
    ),
)


def distinct(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Keep one row of each group of equal rows, or only the rows that are alone."""
    relation, options = relations[node.body["input"]], node.body["options"]
    if options["subset"] is not None or options["keep_strategy"] in ("First", "Last"):
        relation, node = cutter.settle(relation), settled_node(node)
    if relation.single:
        return relation.under(node)
    keys = _keys(options["subset"], cutter.schema(relation))
    if keys is None or options["maintain_order"]:
        return run_whole(cutter, node, relations, why="unique that keeps order or has no hash")
    if options["keep_strategy"] != "None":
        relation = relation.under(node)
    width = cutter.exchange_width(relation)
    return cutter.exchange(relation, keys, partitions=width, name="distinct").under(node)


def _keys(subset: Sequence[Any] | None, schema: Schema) -> list[pl.Expr] | None:
    if subset is None:
        keys = exact_columns(schema)
    else:
        bodies = expand_all(subset, schema)
        if bodies is None or not all(is_elementwise(body) for body in bodies):
            return None
        keys = [expression(body) for body in bodies]
    dtypes = pl.LazyFrame(schema=schema).select(keys).collect_schema().dtypes() if keys else []
    if not dtypes or any(dtype.is_nested() or dtype == pl.Object for dtype in dtypes):
        return None
    return keys
