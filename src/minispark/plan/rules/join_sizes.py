"""What a join costs and keeps, by the guesses of its inputs."""

from __future__ import annotations

from minispark.plan.polars_plan import Node
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.join_broadcast import Side

_TABLE = 3
"""What a byte of a copy costs, against a byte that is moved once: each task builds a hash table of
the copy, which no other task uses."""


def copies_cost_more(cutter: Cutter, left: Relation, right: Relation, side: Side) -> bool:
    """Whether a copy of a side for each task of the other is more than an exchange of both."""
    small, other = (left, right) if side == "left" else (right, left)
    if small.bytes <= cutter.settings.copied_bytes:
        return False
    return _TABLE * small.kept_bytes * other.partitions > left.kept_bytes + right.kept_bytes


def kept_by_join(node: Node, left: Relation, right: Relation) -> float:
    """Return the part of the rows that pass a join: those whose match passed the filters."""
    match node.body["options"]["args"]["how"]:
        case "Inner" | "Semi":
            return left.kept * right.kept
        case "Left" | "Anti":
            return left.kept
        case "Right":
            return right.kept
    return 1.0
