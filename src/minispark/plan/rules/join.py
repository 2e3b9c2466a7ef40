"""Joins: broadcast a small side if its unmatched rows are never emitted, else hash both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.expressions import expand_all, is_elementwise
from minispark.plan.polars_plan import Node, expression, with_body
from minispark.plan.relation import Cutter, Part, Relation
from minispark.plan.rules.whole import merge, run_whole

_RIGHT_MAY_BE_BROADCAST = frozenset({"Inner", "Left", "Semi", "Anti", "Cross"})
_LEFT_MAY_BE_BROADCAST = frozenset({"Inner", "Right", "Cross"})
_HASHED = _RIGHT_MAY_BE_BROADCAST | {"Right", "Full"}


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
    if side == "right":
        return _broadcast(cutter, node, left, right, side="right")
    if args["maintain_order"] != "None":
        return run_whole(cutter, node, relations, why="a join that keeps order")
    if side == "left":
        return _broadcast(cutter, node, left, right, side="left")
    keys = _common_keys(cutter, left, right, equal) if how != "Cross" else None
    if keys is None:
        return run_whole(cutter, node, relations, why="join keys that cannot be hashed")
    return _hash_both(cutter, node, (left, right), keys)


def _small_side(cutter: Cutter, left: Relation, right: Relation, how: str) -> str | None:
    """Name the side to send whole to every task of the other, if there is one."""
    limit = cutter.settings.broadcast_bytes
    candidates = []
    if how in _RIGHT_MAY_BE_BROADCAST and not left.single:
        candidates.append((right.bytes, "right"))
    if how in _LEFT_MAY_BE_BROADCAST and not right.single:
        candidates.append((left.bytes, "left"))
    if not candidates:
        return None
    size, side = min(candidates)
    return side if size <= limit or how == "Cross" else None


def _broadcast(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, side: str
) -> Relation:
    """Send ``side`` whole to every task of the other."""
    small = cutter.broadcast(left if side == "left" else right, "broadcast")
    other = "right" if side == "left" else "left"
    parts = tuple(
        part.under(
            with_body(node, **{f"input_{side}": small.node, f"input_{other}": part.node}), small
        )
        for part in (right if side == "left" else left).parts
    )
    return Relation(parts, left.bytes + right.bytes)


def _hash_both(
    cutter: Cutter,
    node: Node,
    sides: tuple[Relation, Relation],
    keys: tuple[list[pl.Expr], list[pl.Expr]],
) -> Relation:
    width = cutter.exchange_width(*sides)
    left, right = (
        cutter.exchange(side, by, partitions=width, name="join").only
        for side, by in zip(sides, keys, strict=True)
    )
    top = with_body(node, input_left=left.node, input_right=right.node)
    return Relation((_together(left, right, top),), sum(side.bytes for side in sides))


def _together(left: Part, right: Part, top: Node) -> Part:
    return left.under(top, right)


def _common_keys(
    cutter: Cutter, left: Relation, right: Relation, equal: Any
) -> tuple[list[pl.Expr], list[pl.Expr]] | None:
    """Return the keys of both sides, each pair cast to its common type, or None."""
    ours, theirs = cutter.schema(left), cutter.schema(right)
    left_on, right_on = expand_all(equal["left_on"], ours), expand_all(equal["right_on"], theirs)
    if not left_on or not right_on or len(left_on) != len(right_on):
        return None
    if not all(is_elementwise(body) for body in (*left_on, *right_on)):
        return None
    found: tuple[list[pl.Expr], list[pl.Expr]] = ([], [])
    for mine, other in zip(left_on, right_on, strict=True):
        one, another = _dtype(mine, ours), _dtype(other, theirs)
        common = None if one is None or another is None else _common_type(one, another)
        if common is None:
            return None
        found[0].append(expression(mine).cast(common))
        found[1].append(expression(other).cast(common))
    return found


def _dtype(body: Any, schema: Mapping[str, pl.DataType]) -> pl.DataType | None:
    """Return the dtype of a key; None for what gives several columns, as fields of a struct."""
    dtypes = pl.LazyFrame(schema=schema).select(expression(body)).collect_schema().dtypes()
    return dtypes[0] if len(dtypes) == 1 else None


def _common_type(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """Return the type in which values of both are compared; None for what is not hashed."""
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
