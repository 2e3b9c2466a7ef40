"""Pivot with given columns: all rows of one index meet in one partition, which pivots them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from minispark.plan.columns import exact_columns
from minispark.plan.expressions import is_order_free, names_of
from minispark.plan.polars_plan import Node, with_body
from minispark.plan.relation import Cutter, Relation, run_whole
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`pivot`",
        "rows are exchanged by the index columns, and each partition is pivoted",
        "`maintain_order=True`; no index columns, or lists, arrays or structs among them",
    ),
)


def pivot(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Exchange the rows by the index columns; the columns of the result are given."""
    relation = relations[node.body["input"]]
    schema = cutter.schema(relation)
    names = names_of([{"Selector": node.body["index"]}], schema)
    if relation.single or not names or node.body["maintain_order"]:
        return run_whole(cutter, node, relations, why="a pivot that keeps order or has no index")
    if any(schema[name].is_nested() or schema[name] == pl.Object for name in names):
        return run_whole(cutter, node, relations, why="an index that cannot be hashed")
    if not is_order_free(node.body["agg"]):
        relation = cutter.settle(relation)
    width = cutter.exchange_width(relation)
    moved = cutter.exchange(relation, exact_columns(names), partitions=width, name="pivot")
    index = {"ByName": {"names": names, "strict": True}}
    return moved.under(with_body(node, index=index))
