"""Distinct rows: drop local duplicates, exchange by the columns that must differ, drop again.

Where the order is kept, the rows that are left are stamped with their places and return to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from minispark.plan.columns import exact_columns
from minispark.plan.exchanges import STAMP
from minispark.plan.expressions import expand_all, is_elementwise
from minispark.plan.labels import settled_node
from minispark.plan.polars_plan import Node, expression, expression_body, with_body
from minispark.plan.relation import Cutter, Relation, Schema, run_whole
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.places import in_order, stamped

OPERATORS = (
    OperatorText(
        "`unique`",
        "each task drops its duplicates; the rows are exchanged by the columns that must differ, "
        "and dropped again; with `maintain_order`, they return to their order",
    ),
)


def distinct(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Keep one row of each group of equal rows, or only the rows that are alone."""
    relation, options = relations[node.body["input"]], node.body["options"]
    ordered, keep = options["maintain_order"], options["keep_strategy"]
    if ordered or options["subset"] is not None or keep in ("First", "Last"):
        relation, node = cutter.settle(relation), settled_node(node)
    if relation.single:
        return relation.under(node)
    schema = cutter.schema(relation)
    keys = _keys(options["subset"], schema)
    if keys is None or (ordered and STAMP in schema):
        why = "unique by expressions of unknown kinds"
        return run_whole(cutter, node, relations, why=why)
    local = relation if keep == "None" else relation.under(node)
    width = cutter.order_width(relation) if ordered else cutter.exchange_width(relation)
    if not ordered or width == 1:
        return cutter.exchange(local, keys, partitions=width, name="distinct").under(node)
    # The stamp must not make rows differ.
    subset = [expression_body(key) for key in keys]
    node = with_body(node, options={**node.body["options"], "subset": subset})
    rows = stamped(cutter, local, keys, width=width, name="distinct").under(node)
    return in_order(cutter, rows, tasks=relation.partitions, width=width)


def _keys(subset: Sequence[Any] | None, schema: Schema) -> list[pl.Expr] | None:
    if subset is None:
        return exact_columns(schema) or None
    bodies = expand_all(subset, schema)
    if not bodies or not all(is_elementwise(body) for body in bodies):
        return None
    return [expression(body) for body in bodies]
