"""Head, tail, slice and top-k: of each partition, then of these rows; long slices by number."""

from __future__ import annotations

from collections.abc import Mapping

from minispark.plan.expressions import is_constant, is_elementwise
from minispark.plan.polars_plan import Node, with_body
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.numbers import sliced
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.order import sorts_by_row, stable_sort, without_constants

OPERATORS = (
    OperatorText(
        "`head`, `tail`, `slice`, `sort(...).head(n)`, `top_k`, `bottom_k`",
        "each task gives the rows that may be needed; one task takes those that are",
    ),
)

_LOCAL_ROWS = 1_000_000
"""A head of more rows is not worth taking in every partition first."""
_BY_ROW = {"HStack": "exprs", "Select": "expr"}
_LONG = "a slice of more than 1,000,000 rows of a small input, or beside hidden columns"


def slice_rows(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Take the head or tail in each partition, gather, take it again; top-k likewise."""
    if _is_above_sort(node):
        return slice_rows(cutter, _below(node), relations).under(node.body["input"])
    child, offset, length = node.body["input"], node.body["offset"], node.body["len"]
    local = -offset if offset < 0 else offset + length
    if child.kind == "Sort" and 0 <= offset <= local <= _LOCAL_ROWS and sorts_by_row(child):
        return _top_k(cutter, node, without_constants(child), relations[child.body["input"]])
    relation = cutter.settle(relations[child])
    name = "head" if offset >= 0 else "tail"
    if local > _LOCAL_ROWS and not relation.single:
        long = sliced(cutter, relation, offset, length)
        return long or cutter.gather(relation, name, why=_LONG).under(node)
    if relation.single:
        return relation.under(node)
    ends = relation.under(with_body(node, offset=min(offset, 0), len=local))
    return cutter.gather(ends, name, take=local if offset >= 0 else -local).under(node)


def _is_above_sort(node: Node) -> bool:
    """Whether only expressions of each row stand between a slice and the sort below it."""
    child = node.body["input"]
    while child.kind in _BY_ROW and all(map(is_elementwise, child.body[_BY_ROW[child.kind]])):
        if all(map(is_constant, child.body[_BY_ROW[child.kind]])):
            return False
        child = child.body["input"]
        if child.kind == "Sort":
            return True
    return False


def _below(node: Node) -> Node:
    return with_body(node, input=node.body["input"].body["input"])


def _top_k(cutter: Cutter, node: Node, sort_node: Node, relation: Relation) -> Relation:
    """Sort and cut in each partition, gather, sort and cut again; stable, so always the same."""
    stable = stable_sort(sort_node)
    top = with_body(node, input=stable)
    local = node.body["offset"] + node.body["len"]
    relation = cutter.settle(relation)
    if not relation.single:
        relation = relation.under(stable).under(with_body(top, offset=0, len=local))
    relation = cutter.gather(relation, "top-k")
    return relation.under(stable).under(top)
