"""Joins of equal keys: broadcast a small side if its unmatched rows are never emitted, else hash.

What is moved is the least: a side whose rows must keep their order stays in its place if the other
one is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from minispark.plan.polars_plan import Node, with_body
from minispark.plan.relation import Cutter, Relation, merge, run_whole
from minispark.plan.rules.join_asof import join_asof
from minispark.plan.rules.join_broadcast import join_broadcast, small_side
from minispark.plan.rules.join_keys import JoinKeys, join_keys, keys_by_row
from minispark.plan.rules.join_order import join_in_order, order_of
from minispark.plan.rules.join_sizes import copies_cost_more, kept_by_join
from minispark.plan.rules.join_where import join_where
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`join`",
        "a small side is sent whole to each task of the other side; else both sides are exchanged "
        "by the keys; with `maintain_order` the rows then return to their order",
        "keys that are not expressions by row",
    ),
)

_HASHED = frozenset({"Inner", "Left", "Right", "Full", "Semi", "Anti"})


def join(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Choose how to bring matching rows together."""
    left, right = relations[node.body["input_left"]], relations[node.body["input_right"]]
    return replace(_split(cutter, node, relations), kept=kept_by_join(node, left, right))


def _split(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    body = node.body
    left, right = relations[body["input_left"]], relations[body["input_right"]]
    if left.single and right.single:
        return merge(node, relations)
    args = body["options"]["args"]
    if isinstance(args["how"], dict) and "AsOf" in args["how"] and args["slice"] is None:
        return join_asof(cutter, node, left, right)
    how = args["how"] if isinstance(args["how"], str) else ""
    condition = body["condition"] if isinstance(body["condition"], dict) else {}
    if "NonEqui" in condition and args["slice"] is None:
        return join_where(cutter, node, left, right)
    if "Equi" not in condition or how not in (*_HASHED, "Cross") or args["slice"] is not None:
        return run_whole(cutter, node, relations, why="a join without equal keys")
    known = keys_by_row(node, cutter.schema(left), cutter.schema(right))
    if known is None:
        return run_whole(cutter, node, relations, why="join keys that are not expressions by row")
    node = known
    if args["maintain_order"] != "None":
        node = _with_args(node, maintain_order=order_of(how, args["maintain_order"]))
    keys = None
    if how in _HASHED:
        keys = join_keys(node, cutter.schema(left), cutter.schema(right))
    limit = inf if how == "Cross" else cutter.settings.broadcast_bytes
    side = small_side(cutter, node, left, right, limit=limit)
    ordered = args["maintain_order"] != "None"
    if side and (keys is None or ordered or not copies_cost_more(cutter, left, right, side)):
        return join_broadcast(cutter, node, left, right, side=side)
    if keys is None:
        return run_whole(cutter, node, relations, why="join keys that cannot be hashed")
    if not ordered:
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


def _hash_both(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, keys: JoinKeys
) -> Relation:
    width = cutter.exchange_width(left, right)
    left_part = cutter.exchange(left, keys.left, partitions=width, name="join").only
    right_part = cutter.exchange(right, keys.right, partitions=width, name="join").only
    top = with_body(node, input_left=left_part.node, input_right=right_part.node)
    return Relation((left_part.under(top, right_part),), left.bytes + right.bytes)
