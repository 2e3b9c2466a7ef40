"""Distinct rows: drop local duplicates, exchange by the columns that must differ, drop again."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from minispark.plan.expressions import expand_all, is_elementwise
from minispark.plan.labels import settled_node
from minispark.plan.names import exact_columns
from minispark.plan.polars_plan import Node, children, expression
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.whole import append, run_whole


def distinct(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Keep one row of each (or those that are alone)."""
    (child,) = children(node)
    relation, options = relations[child], node.body["options"]
    choosing = options["subset"] is not None or options["keep_strategy"] in ("First", "Last")
    if choosing:
        relation, node = cutter.settle(relation), settled_node(node)
    if relation.single:
        return append(node, relation)
    keys = _keys(node, cutter.schema(relation))
    if keys is None or options["maintain_order"]:
        return run_whole(cutter, node, relations, why="unique that keeps order or has no hash")
    if options["keep_strategy"] != "None":
        relation = append(node, relation)
    width = cutter.exchange_width(relation)
    return append(node, cutter.exchange(relation, keys, partitions=width, name="distinct"))


def _keys(node: Node, schema: dict[str, pl.DataType]) -> list[pl.Expr] | None:
    subset = node.body["options"]["subset"]
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
