"""What is not known how to split runs whole, in one task."""

from __future__ import annotations

from collections.abc import Mapping

from minispark.plan.polars_plan import Node, children, replace_children
from minispark.plan.relation import Cutter, Part, Relation


def append(node: Node, relation: Relation) -> Relation:
    """Put a node with one input on top of every part of that input."""
    (child,) = children(node)
    parts = tuple(part.under(replace_children(node, {child: part.node})) for part in relation.parts)
    return Relation(parts, relation.bytes)


def merge(node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Put a node on top of inputs that are all in one partition."""
    inputs = {child: relations[child].only for child in children(node)}
    top = replace_children(node, {child: part.node for child, part in inputs.items()})
    parts = list(inputs.values()) or [Part(top, 1)]
    part = parts[0].under(top, *parts[1:])
    return Relation((part,), sum(relations[child].bytes for child in children(node)))


def run_whole(
    cutter: Cutter, node: Node, relations: Mapping[Node, Relation], *, why: str
) -> Relation:
    """Bring every input into one partition, in a fixed order, and run ``node`` there."""
    inputs = {
        child: cutter.gather(cutter.settle(relations[child]), "gather", why=why)
        for child in children(node)
    }
    return merge(node, inputs)
