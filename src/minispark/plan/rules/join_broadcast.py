"""Joins that send one side whole to each task of the other side, whose rows do not move.

A task does not see whether a row of the side that was sent has a match elsewhere. If such rows must
be in the result too, the tasks say which of them have a match, and the others are joined with no
rows, once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Literal

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.exchanges import OWN, STAMP, Stamped
from minispark.plan.polars_plan import Node, leaf_node, parse, schema_of, with_body
from minispark.plan.relation import Cutter, Part, Relation, Schema
from minispark.plan.rules.scalars import read_twice
from minispark.plan.stages import ReadMode, StageInput

Side = Literal["left", "right"]

OTHER: dict[Side, Side] = {"left": "right", "right": "left"}
_EMITS_NO_UNMATCHED = {
    "right": frozenset({"Inner", "Left", "Semi", "Anti", "Cross"}),
    "left": frozenset({"Inner", "Right", "Cross"}),
}
"""Joins that emit no row of the side without a match."""
_VALIDATED = {
    "right": frozenset({"ManyToMany", "ManyToOne"}),
    "left": frozenset({"ManyToMany", "OneToMany"}),
}
"""Validations that need no more rows of the other side than those of one task."""
_KEPT_BY = {
    "right": frozenset({"None", "LeftRight"}),
    "left": frozenset({"None", "RightLeft"}),
}
"""Orders that a join keeps if the side is broadcast."""


def small_side(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, limit: float = inf
) -> Side | None:
    """Return the side to send whole to every task of the other, None if both are too large."""
    args = node.body["options"]["args"]
    sides: dict[Side, Relation] = {"right": right, "left": left}
    candidates: list[tuple[bool, int, Side]] = []
    for side, relation in sides.items():
        other = sides[OTHER[side]]
        kept = args["maintain_order"] in _KEPT_BY[side] or args["how"] in ("Semi", "Anti")
        kept = kept and args["validation"] in _VALIDATED[side]
        if other.single or not kept or relation.bytes > limit:
            continue
        if args["how"] in _EMITS_NO_UNMATCHED[side]:
            candidates.append((False, relation.bytes, side))
        elif args["validation"] == "ManyToMany" and _may_return(cutter, node, left, right):
            total = left.bytes + right.bytes
            if limit == inf or relation.bytes * other.partitions <= total:
                candidates.append((True, relation.bytes, side))
    return min(candidates)[2] if candidates else None


def _may_return(cutter: Cutter, node: Node, left: Relation, right: Relation) -> bool:
    """Whether unmatched rows of a side that was sent can be added at the end."""
    args = node.body["options"]["args"]
    names = {*cutter.schema(left), *cutter.schema(right)}
    ordered = args["maintain_order"] != "None" and args["how"] not in ("Semi", "Anti")
    return not ordered and names.isdisjoint({STAMP, OWN})


def join_broadcast(
    cutter: Cutter, node: Node, left: Relation, right: Relation, *, side: Side
) -> Relation:
    """Send ``side`` whole to every task of the other."""
    how = node.body["options"]["args"]["how"]
    small, large = (left, right) if side == "left" else (right, left)
    if how in _EMITS_NO_UNMATCHED[side]:
        sent = cutter.broadcast(small, "broadcast")
        joined = large.with_parts(lambda part: _joined(node, side, sent, part))
    elif how in ("Semi", "Anti"):
        joined = _rows_with_match(cutter, node, small, large)
    else:
        joined = _and_unmatched(cutter, node, side, small, large)
    return Relation(joined.parts, left.bytes + right.bytes)


def _joined(node: Node, side: Side, small: Part, large: Part) -> Part:
    sides = {f"input_{side}": small.node, f"input_{OTHER[side]}": large.node}
    return large.under(with_body(node, **sides), small)


def _rows_with_match(cutter: Cutter, node: Node, left: Relation, right: Relation) -> Relation:
    """Return the rows of a small left side that have a match (none if anti), in their order."""
    rows = _stamped(cutter, left)
    semi = _with_how(node, "Semi")
    matched = _stamps(
        cutter,
        right.with_parts(lambda part: _joined(semi, "left", rows.only, part)),
        lambda r: r,
    )
    how = node.body["options"]["args"]["how"].lower()
    chosen = _chosen(cutter, rows, matched, how)
    return Relation((chosen,), 0)


def _and_unmatched(
    cutter: Cutter, node: Node, side: Side, small: Relation, large: Relation
) -> Relation:
    """Join in each task, without unmatched rows of the small side; add these once."""
    rows = _stamped(cutter, small)
    large, seen = read_twice(cutter, large, "join input")
    large_schema, small_schema = cutter.schema(large), cutter.schema(small)

    def own(relation: Relation) -> Relation:
        marked = cutter.then(relation, lambda r: r.with_columns(pl.lit(value=True).alias(OWN)))
        joined = marked.with_parts(lambda part: _joined(node, side, rows.only, part))
        return cutter.then(joined, lambda r: r.filter(exact_column(OWN)))

    schemas = {"left": small_schema, "right": large_schema}
    if side == "right":
        schemas = {"left": large_schema, "right": small_schema}
    result = schema_of(node, {node.body[f"input_{name}"]: schemas[name] for name in schemas})
    columns = exact_columns(result)
    matched = _stamps(cutter, own(seen), lambda r: r.drop_nulls())
    unmatched = _chosen(cutter, rows, matched, "anti")
    nothing = Part(parse(pl.LazyFrame(schema=large_schema)), 1)
    alone = _joined(node, OTHER[side], nothing, unmatched)
    parts = cutter.then(own(large), lambda r: r.select(columns)).parts
    return Relation((*parts, alone), 0)


def _stamped(cutter: Cutter, small: Relation) -> Relation:
    """Send the rows with their places to all tasks."""
    draft = cutter.close(cutter.settle(small), "broadcast", exchange=Stamped())
    schema: Schema = {**draft.schema, STAMP: pl.UInt64()}
    leaf = leaf_node(f"stage{draft.id}", schema)
    return Relation((Part(leaf, 1, inputs=(StageInput(leaf.leaf, draft.id, ReadMode.ALL),)),), 0)


def _stamps(
    cutter: Cutter, joined: Relation, change: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> Part:
    """Return the places of the rows that have a match in any task."""
    stamps = cutter.then(joined, lambda r: change(r.select(exact_column(STAMP))).unique())
    draft = cutter.close(stamps, "matched")
    draft.sample = True
    return cutter.read(draft).only


def _chosen(cutter: Cutter, rows: Relation, matched: Part, how: Literal["semi", "anti"]) -> Part:
    """Return the stamped rows, in one partition, that are matched or not, without their stamps."""
    schema = cutter.schema(rows)
    left, right = (pl.LazyFrame(schema=each) for each in (schema, {STAMP: pl.UInt64()}))
    node = parse(left.join(right, on=STAMP, how=how, maintain_order="left_right"))
    part = _joined(node, "right", matched, rows.only)
    columns = exact_columns([name for name in schema if name != STAMP])
    return part.then(schema, lambda r: r.select(columns))


def _with_how(node: Node, how: str) -> Node:
    options = node.body["options"]
    return with_body(node, options={**options, "args": {**options["args"], "how": how}})
