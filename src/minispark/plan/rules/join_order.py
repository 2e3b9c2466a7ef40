"""Joins of two large sides that keep an order: both are hashed, and the rows return to their order.

The rows of the side whose order counts first are stamped with their places before the exchange. A
row of the other side that has no match comes after all of them, in the order of its own side.
"""

from __future__ import annotations

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.exchanges import STAMP, first_stamp
from minispark.plan.polars_plan import Node, schema_of, with_body
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.join_keys import JoinKeys
from minispark.plan.rules.places import in_order, stamped

_OTHER = "__minispark_other"
"""The stamp of the other side."""
_BY_LEFT = frozenset({"Left", "LeftRight"})
_EMITS_OTHER = {"left": frozenset({"Right", "Full"}), "right": frozenset({"Left", "Full"})}
"""Joins that emit rows of the other side than this one without a match."""


def order_of(how: str, order: str) -> str:
    """Return the whole order of a join that keeps a part of it: ``LeftRight`` or ``RightLeft``."""
    by_left = order in _BY_LEFT or how in ("Semi", "Anti")
    return "LeftRight" if by_left else "RightLeft"


def join_in_order(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, keys: JoinKeys, width: int
) -> Relation | None:
    """Hash both sides and put the rows in the order that the join keeps; None if names collide."""
    args = node.body["options"]["args"]
    how, first = args["how"], "left" if args["maintain_order"] == "LeftRight" else "right"
    left_schema, right_schema = cutter.schema(left), cutter.schema(right)
    if {STAMP, _OTHER} & {*left_schema, *right_schema}:
        return None
    sides = {"left": cutter.settle(left), "right": cutter.settle(right)}
    tasks = {name: side.partitions for name, side in sides.items()}
    by = {"left": keys.left, "right": keys.right}
    second = "right" if first == "left" else "left"
    rows = {first: stamped(cutter, sides[first], by[first], width=width, name="join")}
    emits = how in _EMITS_OTHER[first]
    if emits:
        other = stamped(cutter, sides[second], by[second], width=width, name="join")
        rows[second] = cutter.then(other, lambda r: r.rename({STAMP: _OTHER}))
    else:
        rows[second] = cutter.exchange(sides[second], by[second], partitions=width, name="join")
    parts = {name: relation.only for name, relation in rows.items()}
    top = with_body(node, input_left=parts["left"].node, input_right=parts["right"].node)
    joined = Relation((parts["left"].under(top, parts["right"]),), left.bytes + right.bytes)
    place: pl.Expr = exact_column(STAMP)
    if emits:
        place = pl.coalesce(place, exact_column(_OTHER) + first_stamp(tasks[first]))
    inputs = {node.body["input_left"]: left_schema, node.body["input_right"]: right_schema}
    columns = exact_columns(schema_of(node, inputs))
    stamped_rows = cutter.then(joined, lambda r: r.select(*columns, place.alias(STAMP)))
    return in_order(
        cutter, stamped_rows, tasks=tasks[first] + (tasks[second] if emits else 0), width=width
    )
