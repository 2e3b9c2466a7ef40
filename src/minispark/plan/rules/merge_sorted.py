"""Merging of two sorted inputs: both are exchanged by ranges of their key, each range is merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.cuts import SortKey
from minispark.plan.polars_plan import Node, with_body
from minispark.plan.relation import Cutter, Part, Relation, run_whole
from minispark.plan.rules.key_ranges import cuts_of, in_ranges, one_after_another
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.scalars import beside_each_row, read_twice

OPERATORS = (
    OperatorText(
        "`merge_sorted`",
        "samples of the first key say where to cut; both inputs are exchanged by ranges of it, and "
        "each range is merged",
        "keys of lists, arrays, structs or categories",
    ),
)

_NULL = "__minispark_null"
"""The place of a row among rows that have nulls and rows that have none."""
_FIRST = "__minispark_nulls_first"
_KEY = "__minispark_key"


def merge_sorted(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Bring rows of the same range of the first key together, and merge them."""
    children = node.body["input_left"], node.body["input_right"]
    inputs = [cutter.settle(relations[child]) for child in children]
    node = with_body(node, maintain_order=True)
    total = sum(relation.bytes for relation in inputs)
    width = cutter.exchange_width(*inputs)
    if width == 1 or total <= cutter.settings.single_task_bytes:
        return run_whole(cutter, node, relations, why="")
    schema = cutter.schema(inputs[0])
    dtype = schema.get(node.body["key"][0])
    known = dtype is not None and (
        dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.String, pl.Binary, pl.Boolean)
    )
    hidden = {_NULL, _FIRST, _KEY}
    if not known or cutter.schema(inputs[1]) != schema or hidden & schema.keys():
        return run_whole(cutter, node, relations, why="keys whose ranges are not known")
    return _merge_ranges(cutter, node, inputs, width)


def _merge_ranges(cutter: Cutter, node: Node, inputs: Sequence[Relation], width: int) -> Relation:
    key = exact_column(node.body["key"][0])
    twice = [read_twice(cutter, each, "merge input") for each in inputs]
    place = _place_of_nulls(cutter, [seen for _, seen in twice], key)
    rows = [_with_place(cutter, each, place, key) for each, _ in twice]
    keyed = [
        cutter.then(_with_place(cutter, seen, place, key), lambda r: r.select(_NULL, key))
        for _, seen in twice
    ]
    keys = [SortKey(exact_column(_NULL)), SortKey(key)]
    cuts = cutter.close(cuts_of(cutter, keyed, keys, width), "cuts")
    cuts.label = cutter.label([part for each in inputs for part in each.parts])
    (side,) = cutter.read(cuts).only.inputs
    columns = exact_columns(cutter.schema(inputs[0]))
    placed = [*columns, exact_column(_NULL)]
    left, right = (
        cutter.then(
            in_ranges(cutter, each, keys, cuts=side, width=width, name="merge"),
            lambda r: r.select(placed),
        ).only
        for each in rows
    )
    # Polars 2.1.0 mixes the nulls of both sides if it merges by one key.
    by = [_NULL, *node.body["key"]]
    top = with_body(node, input_left=left.node, input_right=right.node, key=by)
    merged = Relation((left.under(top, right),), sum(each.bytes for each in inputs))
    return cutter.then(merged, lambda r: r.select(columns))


def _with_place(cutter: Cutter, relation: Relation, place: Part, key: pl.Expr) -> Relation:
    """Add a column that is smaller in rows without a key if these come first, larger if last."""
    beside = relation.with_parts(lambda part: beside_each_row(cutter, part, [place]))
    number = pl.when(key.is_not_null()).then(0).when(exact_column(_FIRST)).then(-1).otherwise(1)
    return cutter.then(beside, lambda r: r.with_columns(number.cast(pl.Int8).alias(_NULL)))


def _place_of_nulls(cutter: Cutter, inputs: Sequence[Relation], key: pl.Expr) -> Part:
    """Return one row for all tasks: whether an input begins with nulls and ends without."""
    sides = []
    for relation in inputs:
        ends = cutter.then(
            relation, lambda r: r.select(first=key.first(), last=key.last(), rows=pl.len())
        )
        draft = cutter.close(ends, "ends")
        draft.sample = True
        sides.append(cutter.then(cutter.read(draft), _begins_with_nulls).only)
    both = Relation((one_after_another(cutter, sides),), 0)
    draft = cutter.close(cutter.then(both, lambda r: r.select(exact_column(_FIRST).any())), "nulls")
    draft.label = cutter.label([part for relation in inputs for part in relation.parts])
    return cutter.read(draft).only


def _begins_with_nulls(ends: pl.LazyFrame) -> pl.LazyFrame:
    filled = ends.filter(pl.col("rows") > 0)
    begins = pl.col("first").first().is_null() & pl.col("last").last().is_not_null()
    return filled.select(begins.alias(_FIRST))
