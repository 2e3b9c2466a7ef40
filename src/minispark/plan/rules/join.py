"""Joins: broadcast a small side if its unmatched rows are never emitted, else hash both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.expressions import expand_all, is_elementwise
from minispark.plan.polars_plan import Node, expression, with_body
from minispark.plan.relation import Cutter, Relation, Schema, merge, run_whole
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`join`",
        "a small side is sent whole to each task of the other side; else both sides are exchanged "
        "by the keys",
        "keys of lists, arrays or structs; `maintain_order`, unless the right side is small",
    ),
    OperatorText("`join_where`, `join_asof`", "not split yet", "both inputs"),
)

_RIGHT_MAY_BE_BROADCAST = frozenset({"Inner", "Left", "Semi", "Anti", "Cross"})
_LEFT_MAY_BE_BROADCAST = frozenset({"Inner", "Right", "Cross"})
_HASHED = _RIGHT_MAY_BE_BROADCAST | {"Right", "Full"}

_KeyPairs = list[tuple[pl.Expr, pl.Expr]]


def join(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Choose how to bring matching rows together."""
    body = node.body
    left, right = relations[body["input_left"]], relations[body["input_right"]]
    if left.single and right.single:
        return merge(node, relations)
    args = body["options"]["args"]
    how = args["how"] if isinstance(args["how"], str) else ""
    equal = body["condition"].get("Equi") if isinstance(body["condition"], dict) else None
    if equal is None or how not in _HASHED or args["slice"] is not None:
        return run_whole(cutter, node, relations, why="a join without equal keys")
    if args["maintain_order"] not in ("None", "Left", "LeftRight"):
        return run_whole(cutter, node, relations, why="a join that keeps the right side's order")
    side = _small_side(cutter, left, right, how) if args["validation"] == "ManyToMany" else None
    if args["maintain_order"] != "None" and side != "right":
        return run_whole(cutter, node, relations, why="a join that keeps order")
    if side is not None:
        return _broadcast(cutter, node, left, right, side=side)
    keys = _common_keys(cutter, left, right, equal) if how != "Cross" else None
    if keys is None:
        return run_whole(cutter, node, relations, why="join keys that cannot be hashed")
    return _hash_both(cutter, node, left, right, keys=keys)


def _small_side(cutter: Cutter, left: Relation, right: Relation, how: str) -> str | None:
    """Return the name of the side to send whole to every task of the other, or None."""
    candidates = []
    if how in _RIGHT_MAY_BE_BROADCAST and not left.single:
        candidates.append((right.bytes, "right"))
    if how in _LEFT_MAY_BE_BROADCAST and not right.single:
        candidates.append((left.bytes, "left"))
    if not candidates:
        return None
    size, side = min(candidates)
    return side if size <= cutter.settings.broadcast_bytes or how == "Cross" else None


def _broadcast(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, side: str
) -> Relation:
    """Send ``side`` whole to every task of the other."""
    small = cutter.broadcast(left if side == "left" else right, "broadcast")
    other = "right" if side == "left" else "left"
    parts = []
    for part in (right if side == "left" else left).parts:
        sides = {f"input_{side}": small.node, f"input_{other}": part.node}
        parts.append(part.under(with_body(node, **sides), small))
    return Relation(tuple(parts), left.bytes + right.bytes)


def _hash_both(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, keys: _KeyPairs
) -> Relation:
    width = cutter.exchange_width(left, right)
    left_keys, right_keys = zip(*keys, strict=True)
    left_part = cutter.exchange(left, left_keys, partitions=width, name="join").only
    right_part = cutter.exchange(right, right_keys, partitions=width, name="join").only
    top = with_body(node, input_left=left_part.node, input_right=right_part.node)
    return Relation((left_part.under(top, right_part),), left.bytes + right.bytes)


def _common_keys(cutter: Cutter, left: Relation, right: Relation, equal: Any) -> _KeyPairs | None:
    """Return the keys of both sides, each pair cast to its common type, or None."""
    left_schema, right_schema = cutter.schema(left), cutter.schema(right)
    left_on = expand_all(equal["left_on"], left_schema)
    right_on = expand_all(equal["right_on"], right_schema)
    if not left_on or not right_on or len(left_on) != len(right_on):
        return None
    if not all(is_elementwise(body) for body in (*left_on, *right_on)):
        return None
    keys: _KeyPairs = []
    for left_body, right_body in zip(left_on, right_on, strict=True):
        left_key, right_key = expression(left_body), expression(right_body)
        common = _common_type(_dtypes(left_key, left_schema), _dtypes(right_key, right_schema))
        if common is None:
            return None
        keys.append((left_key.cast(common), right_key.cast(common)))
    return keys


def _dtypes(key: pl.Expr, schema: Schema) -> list[pl.DataType]:
    return pl.LazyFrame(schema=schema).select(key).collect_schema().dtypes()


def _common_type(
    left_dtypes: list[pl.DataType], right_dtypes: list[pl.DataType]
) -> pl.DataType | None:
    """Return the type in which values of two keys are compared; None if they are not hashed."""
    if len(left_dtypes) != 1 or len(right_dtypes) != 1:
        # Such a key gives several columns, for example fields of a struct.
        return None
    left, right = left_dtypes[0], right_dtypes[0]
    texts = (pl.Categorical, pl.Enum, pl.String)
    if left in texts and right in texts:
        return pl.String()
    if left.is_nested() or right.is_nested() or pl.Object in (left, right):
        return None
    if left == right:
        return left
    frames = [pl.LazyFrame(schema={"key": dtype}) for dtype in (left, right)]
    try:
        return pl.concat(frames, how="vertical_relaxed").collect_schema()["key"]
    except (PolarsError, PanicException):
        return None
