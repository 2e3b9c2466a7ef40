"""Joins by any condition: by what it says is equal, else one side goes to all tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from minispark.plan.expressions import columns_of, is_elementwise, replace_parts
from minispark.plan.polars_plan import Node, expression, with_body
from minispark.plan.relation import Cutter, Relation, Schema, run_whole
from minispark.plan.rules.join_broadcast import join_broadcast, small_side
from minispark.plan.rules.join_keys import hashed_pair
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`join_where`",
        "a small side is sent whole to each task of the other side; else both sides are exchanged "
        "by what the condition says is equal; without equal parts, the smaller side is sent",
        "conditions that are not expressions by row",
    ),
)

_HOWS = ("Inner", "Left", "Right", "Full")
_EQUAL = ("Eq", "EqValidity")


def join_where(cutter: Cutter, node: Node, left: Relation, right: Relation) -> Relation:
    """Choose how to bring rows that fulfil a condition together."""
    body = node.body
    relations = {body["input_left"]: left, body["input_right"]: right}
    predicates = body["condition"]["NonEqui"]["predicates"]
    args = body["options"]["args"]
    by_row = all(map(is_elementwise, predicates)) and args["maintain_order"] == "None"
    if not by_row or args["how"] not in _HOWS:
        return run_whole(cutter, node, relations, why="a condition that is not known by row")
    side = small_side(cutter, node, left, right, limit=cutter.settings.broadcast_bytes)
    if side is None:
        left_schema, right_schema = cutter.schema(left), cutter.schema(right)
        keys = _keys(predicates, left_schema, right_schema, args["suffix"])
        if keys:
            return _hash_both(cutter, node, left, right, keys)
        side = small_side(cutter, node, left, right)
    if side is None:
        return run_whole(cutter, node, relations, why="a condition without equal parts")
    return join_broadcast(cutter, node, left, right, side=side)


def _hash_both(
    cutter: Cutter,
    node: Node,
    left: Relation,
    right: Relation,
    keys: Sequence[tuple[pl.Expr, pl.Expr]],
) -> Relation:
    width = cutter.exchange_width(left, right)
    left_keys, right_keys = zip(*keys, strict=True)
    rows = cutter.exchange(left, left_keys, partitions=width, name="join").only
    others = cutter.exchange(right, right_keys, partitions=width, name="join").only
    top = with_body(node, input_left=rows.node, input_right=others.node)
    return Relation((rows.under(top, others),), left.bytes + right.bytes)


def _keys(
    predicates: Sequence[Any], left: Schema, right: Schema, suffix: str
) -> list[tuple[pl.Expr, pl.Expr]]:
    """Return the pairs of expressions, one of each side, that must be equal."""
    names = {f"{name}{suffix}" if name in left else name: name for name in right}
    both = names.keys() & left.keys()
    found = []
    for one, other in _equalities(predicates):
        for left_body, right_body in ((one, other), (other, one)):
            mine, theirs = set(columns_of(left_body)), set(columns_of(right_body))
            if not mine or not theirs or both & (mine | theirs):
                continue
            if mine <= left.keys() and theirs <= names.keys():
                own = replace_parts(right_body, lambda part: _renamed(part, names))
                if _compared_by_value(left_body, left, own, right):
                    pair = hashed_pair(left_body, left, own, right)
                    found += [pair] if pair is not None else []
                break
    return found


def _equalities(predicates: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    for predicate in predicates:
        match predicate:
            case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
                yield from _equalities([left, right])
            case {"BinaryExpr": {"left": left, "op": op, "right": right}} if op in _EQUAL:
                yield left, right


def _renamed(part: Any, names: dict[str, str]) -> Any:
    match part:
        case {"Column": str(name)} if name in names:
            return {"Column": names[name]}
    return part


def _compared_by_value(left_body: Any, left: Schema, right_body: Any, right: Schema) -> bool:
    """Whether equal values have equal hashes after a cast; floats and integers may not."""
    dtypes = [
        pl.LazyFrame(schema=schema).select(expression(body)).collect_schema().dtypes()
        for body, schema in ((left_body, left), (right_body, right))
    ]
    if any(len(each) != 1 for each in dtypes):
        return False
    (mine,), (theirs,) = dtypes
    signed = mine.is_signed_integer() and theirs.is_signed_integer()
    unsigned = mine.is_unsigned_integer() and theirs.is_unsigned_integer()
    return mine == theirs or signed or unsigned
