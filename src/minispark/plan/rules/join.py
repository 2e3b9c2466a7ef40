"""Joins of equal keys: broadcast a small side if its unmatched rows are never emitted, else hash.

What is moved is the least: a side whose rows must keep their order stays in its place if the other
one is small.
"""

from __future__ import annotations

from collections.abc import Mapping

from minispark.plan.polars_plan import Node, with_body
from minispark.plan.relation import Cutter, Relation, merge, run_whole
from minispark.plan.rules.join_keys import JoinKeys, join_keys
from minispark.plan.rules.join_order import join_in_order, order_of
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`join`",
        "a small side is sent whole to each task of the other side; else both sides are exchanged "
        "by the keys; with `maintain_order` the rows then return to their order",
        "keys that are not expressions by row",
    ),
    OperatorText("`join_where`, `join_asof`", "not split yet", "both inputs"),
)

_MAY_BE_BROADCAST = {
    "right": frozenset({"Inner", "Left", "Semi", "Anti", "Cross"}),
    "left": frozenset({"Inner", "Right", "Cross"}),
}
"""Joins that emit no unmatched row of the side."""
_VALIDATED = {
    "right": frozenset({"ManyToMany", "ManyToOne"}),
    "left": frozenset({"ManyToMany", "OneToMany"}),
}
"""Validations that need no more rows of the other side than those of one task."""
_KEPT_BY = {
    "right": frozenset({"None", "Left", "LeftRight"}),
    "left": frozenset({"None", "Right", "RightLeft"}),
}
"""Orders that a join keeps if the side is broadcast."""
_HASHED = frozenset({"Inner", "Left", "Right", "Full", "Semi", "Anti"})
_OTHER = {"left": "right", "right": "left"}


def join(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Choose how to bring matching rows together."""
    body = node.body
    left, right = relations[body["input_left"]], relations[body["input_right"]]
    if left.single and right.single:
        return merge(node, relations)
    args = body["options"]["args"]
    how = args["how"] if isinstance(args["how"], str) else ""
    equal = body["condition"].get("Equi") if isinstance(body["condition"], dict) else None
    if equal is None or how not in (*_HASHED, "Cross") or args["slice"] is not None:
        return run_whole(cutter, node, relations, why="a join without equal keys")
    if args["maintain_order"] != "None":
        node = _with_args(node, maintain_order=order_of(how, args["maintain_order"]))
    side = _small_side(cutter, node, left, right)
    if side is not None:
        return _broadcast(cutter, node, left, right, side=side)
    keys = None
    if how in _HASHED:
        keys = join_keys(node, cutter.schema(left), cutter.schema(right))
    if keys is None:
        return run_whole(cutter, node, relations, why="join keys that cannot be hashed")
    if args["maintain_order"] == "None":
        return _hash_both(cutter, node, left, right, keys=keys)
    rows = _in_order(cutter, node, left, right, keys)
    return rows or run_whole(cutter, node, relations, why="a join that keeps order")


def _in_order(
    cutter: Cutter, node: Node, left: Relation, right: Relation, keys: JoinKeys
) -> Relation | None:
    width = cutter.exchange_width(left, right)
    if width == 1 or left.bytes + right.bytes <= cutter.settings.single_task_bytes:
        return None
    return join_in_order(cutter, node, left, right, keys=keys, width=width)


def _with_args(node: Node, **changes: str) -> Node:
    options = node.body["options"]
    return with_body(node, options={**options, "args": {**options["args"], **changes}})


def _small_side(cutter: Cutter, node: Node, left: Relation, right: Relation) -> str | None:
    """Return the name of the side to send whole to every task of the other, or None."""
    args = node.body["options"]["args"]
    how, order = args["how"], args["maintain_order"]
    sides = {"left": left, "right": right}
    candidates = [
        (sides[side].bytes, side)
        for side in ("right", "left")
        if how in _MAY_BE_BROADCAST[side]
        and args["validation"] in _VALIDATED[side]
        and (order in _KEPT_BY[side] or (how in ("Semi", "Anti") and side == "right"))
        and not sides[_OTHER[side]].single
    ]
    if not candidates:
        return None
    size, side = min(candidates)
    return side if size <= cutter.settings.broadcast_bytes or how == "Cross" else None


def _broadcast(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, side: str
) -> Relation:
    """Send ``side`` whole to every task of the other."""
    small = cutter.broadcast(left if side == "left" else right, "broadcast")
    parts = []
    for part in (right if side == "left" else left).parts:
        sides = {f"input_{side}": small.node, f"input_{_OTHER[side]}": part.node}
        parts.append(part.under(with_body(node, **sides), small))
    return Relation(tuple(parts), left.bytes + right.bytes)


def _hash_both(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, keys: JoinKeys
) -> Relation:
    width = cutter.exchange_width(left, right)
    left_part = cutter.exchange(left, keys.left, partitions=width, name="join").only
    right_part = cutter.exchange(right, keys.right, partitions=width, name="join").only
    top = with_body(node, input_left=left_part.node, input_right=right_part.node)
    return Relation((left_part.under(top, right_part),), left.bytes + right.bytes)
