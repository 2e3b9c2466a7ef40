"""`rolling` and `group_by_dynamic`: by groups, or windows in two steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from minispark.plan.aggregates import SplitAggregates, split_aggregates
from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.expressions import expand_all, holds, is_constant, is_elementwise, names_of
from minispark.plan.polars_plan import (
    Node,
    expression,
    expression_body,
    parse,
    schema_of,
    with_body,
)
from minispark.plan.relation import Cutter, Relation, Schema, run_whole
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.order import sort

OPERATORS = (
    OperatorText(
        "`rolling`, `group_by_dynamic` with `group_by`",
        "rows are exchanged by the groups, and sorted by them",
        "groups of lists, arrays or structs",
    ),
    OperatorText(
        "`group_by_dynamic` without groups",
        "partial windows in each task; one task makes windows of them",
        "windows that overlap, `start_by`, `label='datapoint'`, aggregates that do not decompose",
    ),
    OperatorText("`rolling` without groups", "not split yet", "its input"),
)

_SPAN = ("months", "weeks", "days", "nsecs", "negative")
_LOW, _HIGH = "__minispark_low", "__minispark_high"
_UNSORTED = "argument in operation 'group_by_dynamic' is not sorted, please sort the 'expr' first"


@dataclass(frozen=True, slots=True)
class _Windows:
    """A node whose selectors are expanded."""

    node: Node
    index: str
    keys: list[pl.Expr]
    aggregates: list[Any]
    schema: Schema
    result: Schema


def time_windows(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Split windows in time, or windows of numbers."""
    relation = relations[node.body["input"]]
    windows = None if relation.single else _windows(node, cutter.schema(relation))
    done = None
    if windows is not None and cutter.order_width(relation) > 1:
        done = (_by_group if windows.keys else _in_two_steps)(cutter, relation, windows)
    return done or run_whole(cutter, node, relations, why="windows in time of a kind not split")


def _windows(node: Node, schema: Schema) -> _Windows | None:
    body = node.body
    options = body["options"]["rolling"] or body["options"]["dynamic"]
    if body["apply"] is not None or body["options"]["slice"] is not None or options is None:
        return None
    keys = expand_all(body["keys"], schema)
    names = names_of(keys, schema) if keys is not None else None
    if keys is None or names is None or not all(map(is_elementwise, keys)):
        return None
    result = schema_of(node, {body["input"]: schema})
    index = options["index_column"]
    aggregates = expand_all(body["aggs"], schema, without=[*names, index])
    if aggregates is None or holds(body["predicates"], "Selector"):
        return None
    new = with_body(node, keys=keys, aggs=aggregates)
    if schema_of(new, {body["input"]: schema}) != result:
        return None
    return _Windows(new, index, [expression(key) for key in keys], aggregates, schema, result)


def _by_group(cutter: Cutter, relation: Relation, windows: _Windows) -> Relation | None:
    """Bring the rows of each group together; put the groups in the order of Polars."""
    dtypes = pl.LazyFrame(schema=windows.schema).select(windows.keys).collect_schema().dtypes()
    constant = all(map(is_constant, windows.node.body["keys"]))
    if constant or any(dtype.is_nested() or dtype == pl.Object for dtype in dtypes):
        return None
    width = cutter.order_width(relation)
    moved = cutter.exchange(cutter.settle(relation), windows.keys, partitions=width, name="windows")
    groups = moved.under(windows.node)
    by, nulls_last = _order_of_groups(list(windows.result.items())[: len(windows.keys)])
    in_order = pl.LazyFrame(schema=windows.result).sort(
        by, nulls_last=nulls_last, maintain_order=True
    )
    node = parse(in_order)
    return sort(cutter, node, {node.body["input"]: groups})


def _order_of_groups(keys: Sequence[tuple[str, pl.DataType]]) -> tuple[list[pl.Expr], list[bool]]:
    """Return how Polars orders the groups: by their keys, texts by their lengths first (2.1.0)."""
    by: list[pl.Expr] = []
    nulls_last: list[bool] = []
    for name, dtype in keys:
        column = exact_column(name)
        text = dtype in (pl.String, pl.Binary)
        if text:
            by.append(column.str.len_bytes() if dtype == pl.String else column.bin.size())
        by.append(column)
        nulls_last += [True, True] if text else [False]
    return by, nulls_last


def _in_two_steps(cutter: Cutter, relation: Relation, windows: _Windows) -> Relation | None:
    """Make windows of the rows of each partition; add those that have the same label."""
    body, name = windows.node.body, windows.index
    split = split_aggregates(
        [*windows.aggregates, *body["predicates"]],
        windows.schema,
        names=list(windows.result),
        grouped=True,
    )
    if split is None or not _is_partition(body["options"]["dynamic"]):
        return None
    index = exact_column(name)
    partial = [*split.partial, index.first().alias(_LOW), index.last().alias(_HIGH)]
    bodies = [expression_body(expr) for expr in partial]
    top = with_body(windows.node, aggs=bodies, predicates=[], maintain_order=True)
    partials = cutter.settle(relation).under(top)
    moved = cutter.gather(partials, "partial windows")
    return cutter.then(moved, lambda r: _final(r, windows, split))


def _final(rows: pl.LazyFrame, windows: _Windows, split: SplitAggregates) -> pl.LazyFrame:
    labels = list(windows.result)[: len(windows.result) - len(windows.aggregates)]
    # Polars checks the order of the rows of each partition; between partitions nothing does.
    before = exact_column(_HIGH).shift(1) > exact_column(_LOW)
    error = pl.when(before).then(pl.lit(_UNSORTED)).otherwise(None).cast(pl.Int64)
    groups = (
        rows.filter(error.is_null())
        .group_by(exact_columns(labels), maintain_order=True)
        .agg(split.final)
    )
    for predicate in split.outputs[len(windows.aggregates) :]:
        groups = groups.filter(predicate)
    named = split.named(list(windows.result.items())[len(labels) :])
    return groups.select([*exact_columns(labels), *named])


def _is_partition(options: Any) -> bool:
    """Whether each row is in one window at most, which begins at the same time in all partitions.

    Polars makes no window before the first that begins with the first row (2.1.0), so windows that
    overlap would lack the rows of other partitions.
    """
    if options is None:
        return False
    same = all(options["every"][unit] == options["period"][unit] for unit in _SPAN)
    closed = options["closed_window"] != "Both"
    placed = options["start_by"] == "WindowBound" and options["label"] != "DataPoint"
    return same and closed and placed
