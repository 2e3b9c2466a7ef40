"""As-of joins: each row of the left side finds the row of the right side whose key is nearest.

A small right side goes whole to each task of the left side. Else both sides are exchanged: by the
columns of ``by``, after which the rows return to their order; or, without ``by``, by ranges of the
key, where every task also reads the first and last rows of the other ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.cuts import SortKey
from minispark.plan.exchanges import STAMP
from minispark.plan.expressions import expand_all
from minispark.plan.polars_plan import Node, schema_of, with_body
from minispark.plan.relation import Cutter, Draft, Part, Relation, run_whole
from minispark.plan.rules.join_keys import hashed_pair
from minispark.plan.rules.key_ranges import cuts_of, in_ranges, one_after_another
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.places import in_order, stamped
from minispark.plan.rules.scalars import read_twice
from minispark.plan.stages import StageInput

OPERATORS = (
    OperatorText(
        "`join_asof`",
        "a small right side is sent whole to each task of the left side; else both sides are "
        "exchanged by the columns of `by` and the rows return to their order, or without `by` by "
        "ranges of the key, and the first and last rows of each range go to all tasks",
        "keys that are not expressions by row",
    ),
)

_KEY = "__minispark_key"

_Query = Callable[[pl.LazyFrame], pl.LazyFrame]


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both sides of a join, and their keys, cast to one type."""

    left: Relation
    right: Relation
    left_key: pl.Expr
    right_key: pl.Expr


def join_asof(cutter: Cutter, node: Node, left: Relation, right: Relation) -> Relation:
    """Choose how to bring each row and its nearest row together."""
    relations = {node.body["input_left"]: left, node.body["input_right"]: right}
    options = node.body["options"]["args"]["how"]["AsOf"]
    pair = _keys(cutter, node, left, right)
    if pair is None:
        return run_whole(cutter, node, relations, why="as-of keys that are not known by row")
    sides = _Sides(cutter.settle(left), cutter.settle(right), *pair)
    checked = options["check_sortedness"] and options["left_by"] is None
    if right.bytes <= cutter.settings.broadcast_bytes and not left.single:
        return _broadcast(cutter, node, sides, checked=checked)
    width = cutter.exchange_width(left, right)
    if width == 1 or left.bytes + right.bytes <= cutter.settings.single_task_bytes:
        return run_whole(cutter, node, relations, why="")
    rows = (
        _by_ranges(cutter, node, sides, width, checked=checked)
        if options["left_by"] is None
        else _by_columns(cutter, node, sides, width)
    )
    why = "columns of `by` that cannot be hashed"
    return rows or run_whole(cutter, node, relations, why=why)


def _keys(
    cutter: Cutter, node: Node, left: Relation, right: Relation
) -> tuple[pl.Expr, pl.Expr] | None:
    left_schema, right_schema = cutter.schema(left), cutter.schema(right)
    equal = node.body["condition"]["Equi"]
    left_on = expand_all(equal["left_on"], left_schema)
    right_on = expand_all(equal["right_on"], right_schema)
    if left_on is None or right_on is None or not len(left_on) == len(right_on) == 1:
        return None
    pair = hashed_pair(left_on[0], left_schema, right_on[0], right_schema)
    if pair is None:
        return None
    (dtype,) = pl.LazyFrame(schema=left_schema).select(pair[0]).collect_schema().dtypes()
    flat = dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.String, pl.Binary)
    return pair if flat else None


def _broadcast(cutter: Cutter, node: Node, sides: _Sides, *, checked: bool) -> Relation:
    """Send the right side to all tasks of the left side, which keeps its order."""
    left = sides.left
    if checked:
        left, seen = read_twice(cutter, left, "as-of input")
        sides = replace(sides, left=seen)
    small = cutter.broadcast(sides.right, "broadcast")
    if checked:
        nothing = cutter.read(_order_check(cutter, sides, cutter.schema(sides.right))).only
        small = one_after_another(cutter, [small, nothing])

    def under(part: Part) -> Part:
        top = with_body(node, input_left=part.node, input_right=small.node)
        return part.under(top, small)

    return replace(left.with_parts(under), bytes=left.bytes + sides.right.bytes)


def _by_columns(cutter: Cutter, node: Node, sides: _Sides, width: int) -> Relation | None:
    """Exchange both sides by the columns that must be equal, and put the rows in their order."""
    left, right = sides.left, sides.right
    left_schema, right_schema = cutter.schema(left), cutter.schema(right)
    options = node.body["options"]["args"]["how"]["AsOf"]
    pairs = [
        hashed_pair({"Column": name}, left_schema, {"Column": other}, right_schema)
        for name, other in zip(options["left_by"], options["right_by"], strict=True)
    ]
    known = [pair for pair in pairs if pair is not None]
    if not known or len(known) != len(pairs) or STAMP in {*left_schema, *right_schema}:
        return None
    left_by, right_by = zip(*known, strict=True)
    rows = stamped(cutter, left, left_by, width=width, name="as-of join").only
    others = cutter.exchange(right, right_by, partitions=width, name="as-of join").only
    top = with_body(node, input_left=rows.node, input_right=others.node)
    inputs = {node.body["input_left"]: left_schema, node.body["input_right"]: right_schema}
    columns = exact_columns([*schema_of(node, inputs), STAMP])
    joined = Relation((rows.under(top, others),), left.bytes + right.bytes)
    joined = cutter.then(joined, lambda r: r.select(columns))
    return in_order(cutter, joined, tasks=left.partitions, width=width)


def _by_ranges(cutter: Cutter, node: Node, sides: _Sides, width: int, *, checked: bool) -> Relation:
    """Exchange both sides by ranges of the key; each task sees the ends of all other ranges."""
    left, left_seen = read_twice(cutter, sides.left, "as-of input")
    right, right_seen = read_twice(cutter, sides.right, "as-of input")
    side = _cuts(cutter, replace(sides, left=left_seen, right=right_seen), width, checked=checked)
    rows, others = (
        in_ranges(cutter, each, [SortKey(key)], cuts=side, width=width, name="as-of join")
        for each, key in ((left, sides.left_key), (right, sides.right_key))
    )
    edges = cutter.close(cutter.then(others, lambda r: _ends(r, sides.right_key)), "edges")
    edges.sample = True
    near = one_after_another(cutter, [others.only, cutter.read(edges).only])
    near = near.then(cutter.schema(others), lambda r: r.sort(sides.right_key, maintain_order=True))
    top = with_body(node, input_left=rows.only.node, input_right=near.node)
    return Relation((rows.only.under(top, near),), left.bytes + right.bytes)


def _cuts(cutter: Cutter, sides: _Sides, width: int, *, checked: bool) -> StageInput:
    """Add the stages that choose the ranges, and look whether the keys are sorted."""
    keys = [SortKey(exact_column(_KEY))]
    chosen = cuts_of(cutter, _with_keys(cutter, sides, lambda r: r), keys, width)
    if checked:
        nothing = cutter.read(_order_check(cutter, sides, cutter.schema(chosen)))
        chosen = Relation((one_after_another(cutter, [chosen.only, nothing.only]),), 0)
    cuts = cutter.close(chosen, "cuts")
    cuts.label = cutter.label([*sides.left.parts, *sides.right.parts])
    (side,) = cutter.read(cuts).only.inputs
    return side


def _with_keys(cutter: Cutter, sides: _Sides, build: _Query) -> tuple[Relation, Relation]:
    """Return what ``build`` makes of the keys of each part of the left and of the right side."""

    def keyed(relation: Relation, key: pl.Expr) -> Relation:
        return cutter.then(relation, lambda r: build(r.select(key.alias(_KEY))))

    return keyed(sides.left, sides.left_key), keyed(sides.right, sides.right_key)


def _ends(rows: pl.LazyFrame, key: pl.Expr) -> pl.LazyFrame:
    """Return the first and last row of the first key of a range, and its last row.

    A row before the range can only match the former, a row behind it only the latter.
    """
    rows = rows.filter(key.is_not_null())
    number = pl.int_range(pl.len())
    last_of_first = (key == key.first()) & key.shift(-1).ne_missing(key.first())
    return rows.filter((number == 0) | (number == pl.len() - 1) | last_of_first)


def _order_check(cutter: Cutter, sides: _Sides, schema: dict[str, pl.DataType]) -> Draft:
    """Add a stage that fails as Polars does if a side is not sorted; it gives no rows.

    A task sees whether its own keys are sorted; its first and last key tell the rest.
    """
    tops = []
    for ends in _with_keys(cutter, sides, _first_and_last):
        draft = cutter.close(ends, "order")
        draft.sample = True
        tops.append(cutter.then(cutter.read(draft), _unsorted).only)
    both = one_after_another(cutter, tops)
    checked = cutter.then(Relation((both,), 0), lambda r: _nothing_if_sorted(r, schema))
    draft = cutter.close(checked, "check order")
    draft.label = cutter.label([*sides.left.parts, *sides.right.parts])
    return draft


def _first_and_last(keys: pl.LazyFrame) -> pl.LazyFrame:
    key = exact_column(_KEY)
    return keys.select(
        key.first().alias("first"),
        key.last().alias("last"),
        _is_before(key, key.shift(1)).any().alias("unsorted"),
        pl.len().alias("rows"),
    )


def _is_before(key: pl.Expr, previous: pl.Expr) -> pl.Expr:
    """Whether a key must come before the one in the row before it; nulls come first."""
    return (key < previous).fill_null(key.is_null() & previous.is_not_null())


def _unsorted(edges: pl.LazyFrame) -> pl.LazyFrame:
    filled = edges.filter(pl.col("rows") > 0)
    crossed = _is_before(pl.col("first"), pl.col("last").shift(1))
    return filled.select((pl.col("unsorted") | crossed).any())


def _nothing_if_sorted(unsorted: pl.LazyFrame, schema: dict[str, pl.DataType]) -> pl.LazyFrame:
    """Let Polars join two rows that are in order if all are; return no row of ``schema``."""
    bad = pl.col("unsorted").any()
    key = pl.when(bad).then(pl.lit(-1)).otherwise(pl.lit(1))
    rows = unsorted.select(pl.concat_list(pl.lit(0), key).first().alias("key")).explode("key")
    count = rows.join_asof(rows, on="key").select(pl.len().alias("count"))
    columns = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items()]
    return count.filter(pl.col("count") < 0).with_columns(columns).select(exact_columns(schema))
