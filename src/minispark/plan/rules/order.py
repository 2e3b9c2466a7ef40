"""Sort, head, tail and top-k: operators that depend on the order of all rows end in one task."""

from __future__ import annotations

from collections.abc import Mapping

from minispark.plan.expressions import is_elementwise
from minispark.plan.polars_plan import Node, with_body
from minispark.plan.relation import Cutter, Relation

_LOCAL_ROWS = 1_000_000
"""A head of more rows is not worth taking in every partition first."""
_LONG = "a slice of more than 1,000,000 rows is not split"


def sort(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Gather and sort. A key that depends on positions (a rank) needs its rows in one order."""
    relation = relations[node.body["input"]]
    if not _by_row(node):
        relation = cutter.settle(relation)
    return cutter.gather(relation, "sort", why="a full sort is not split yet").under(node)


def _by_row(node: Node) -> bool:
    return all(is_elementwise(body) for body in node.body["by_column"])


def slice_rows(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Take the head or tail in each partition, gather, take it again; top-k likewise."""
    child, offset, length = node.body["input"], node.body["offset"], node.body["len"]
    local = -offset if offset < 0 else offset + length
    if child.kind == "Sort" and offset >= 0 and _by_row(child):
        return _top_k(cutter, node, child, relations[child.body["input"]])
    relation = cutter.settle(relations[child])
    name = "head" if offset >= 0 else "tail"
    if relation.single or local > _LOCAL_ROWS:
        return cutter.gather(relation, name, why=_LONG).under(node)
    ends = relation.under(with_body(node, offset=min(offset, 0), len=local))
    return cutter.gather(ends, name, take=local if offset >= 0 else -local).under(node)


def _top_k(cutter: Cutter, node: Node, sort_node: Node, relation: Relation) -> Relation:
    """Sort and cut in each partition, gather, sort and cut again; stable, so always the same."""
    options = {**sort_node.body["sort_options"], "maintain_order": True}
    stable = with_body(sort_node, sort_options=options)
    top = with_body(node, input=stable)
    local = node.body["offset"] + node.body["len"]
    relation = cutter.settle(relation)
    if not relation.single and local <= _LOCAL_ROWS:
        relation = relation.under(stable).under(with_body(top, offset=0, len=local))
    if local <= _LOCAL_ROWS:
        relation = cutter.gather(relation, "top-k")
    else:
        relation = cutter.gather(relation, "sort", why=_LONG)
    return relation.under(stable).under(top)
