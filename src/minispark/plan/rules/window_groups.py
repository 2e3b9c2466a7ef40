"""Windows of few groups: each task aggregates its rows, and every task gets the values of all.

No row moves, so the rows stay in their order. The dtypes of the keys must say that groups are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import polars as pl

from minispark.plan.aggregates import SplitAggregates, split_aggregates
from minispark.plan.columns import exact_columns
from minispark.plan.expressions import is_constant, is_elementwise, replace_parts
from minispark.plan.polars_plan import Node, expression, parse, schema_of, with_body
from minispark.plan.relation import Cutter, Part, Relation, Schema
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.scalars import read_twice

OPERATORS = (
    OperatorText(
        "`.over(...)` of aggregates that decompose, by keys of which the dtypes have at most 1,000 "
        "values (Boolean, Int8, Enum) or by a constant",
        "partial groups in each task; the values of all groups go to all tasks, and no row moves",
    ),
)

_GROUPS = 1000
_WINDOW = "__minispark_window_"
_KEY = "__minispark_by_"


@dataclass(slots=True)
class _Groups:
    """The windows with the same keys, each under the name of its column."""

    keys: list[Any]
    windows: dict[str, Any]


def windows_of_few_groups(
    cutter: Cutter, node: Node, relation: Relation, field: str, bodies: Sequence[Any]
) -> Relation | None:
    """Split the windows of a node by sending groups to all tasks; None if they do not allow it."""
    schema = cutter.schema(relation)
    groups, rest = _grouped(bodies)
    if not groups or not all(map(is_elementwise, rest)) or any("__minispark_" in n for n in schema):
        return None
    splits = [_split(group, schema) for group in groups]
    known = [split for split in splits if split is not None]
    if len(known) < len(groups):
        return None
    result = schema_of(node, {node.body["input"]: schema})
    if any(split.ordered for split in known):
        relation = cutter.settle(relation)
    rows, seen = read_twice(cutter, relation, "window input")
    for group, split in zip(groups, known, strict=True):
        rows = _joined(cutter, rows, _values(cutter, seen, schema, group, split), group)
    field_value = rest if isinstance(node.body[field], list) else rest[0]
    columns = exact_columns(result)
    return cutter.then(
        rows.under(with_body(node, **{field: field_value})), lambda r: r.select(columns)
    )


def _grouped(bodies: Sequence[Any]) -> tuple[list[_Groups], list[Any]]:
    """Return the windows of expressions by keys, and the expressions with columns for them."""
    groups: list[_Groups] = []

    def column(part: Any) -> Any:
        if not (isinstance(part, dict) and part.keys() == {"Over"}):
            return part
        keys = part["Over"]["partition_by"]
        group = next((group for group in groups if group.keys == keys), None)
        if group is None:
            group = _Groups(keys, {})
            groups.append(group)
        known = (name for name, window in group.windows.items() if window == part)
        name = next(known, f"{_WINDOW}{len(groups)}_{len(group.windows)}")
        group.windows[name] = part
        output = expression(part).meta.output_name()
        return {"Alias": [{"Column": name}, output]}

    return groups, [replace_parts(body, column) for body in bodies]


def _split(group: _Groups, schema: Schema) -> SplitAggregates | None:
    windows = [window["Over"] for window in group.windows.values()]
    plain = all(w["mapping"] == "GroupsToRows" and w["order_by"] is None for w in windows)
    if not plain or not all(map(is_elementwise, group.keys)) or not _few(group.keys, schema):
        return None
    functions = [window["function"] for window in windows]
    constant = all(map(is_constant, group.keys))
    if not all(expression(function).meta.is_scalar() for function in functions):
        return None
    return split_aggregates(functions, schema, grouped=not constant)


def _few(keys: Sequence[Any], schema: Schema) -> bool:
    """Whether there cannot be many groups."""
    frame = pl.LazyFrame(schema=schema)
    dtypes = [frame.select(expression(key)).collect_schema().dtypes() for key in keys]
    if any(len(each) != 1 for each in dtypes):
        return False
    counts = [
        1 if is_constant(key) else _most_values(dtype)
        for key, (dtype,) in zip(keys, dtypes, strict=True)
    ]
    return all(counts) and prod(counts) <= _GROUPS


def _most_values(dtype: pl.DataType) -> int:
    """Return how many values a dtype has, with null; 0 if they are many."""
    if isinstance(dtype, pl.Enum):
        return len(dtype.categories) + 1
    return {pl.Null: 1, pl.Boolean: 3, pl.Int8: 257, pl.UInt8: 257}.get(dtype.base_type(), 0)


def _named_keys(group: _Groups) -> dict[str, pl.Expr]:
    return {f"{_KEY}{number}": expression(key) for number, key in enumerate(group.keys)}


def _values(
    cutter: Cutter, rows: Relation, schema: Schema, group: _Groups, split: SplitAggregates
) -> Part:
    """Let every task read the partial groups of all tasks and aggregate them again."""
    keys = _named_keys(group)
    by = [key.alias(name) for name, key in keys.items()]
    columns = exact_columns(keys)
    partials = cutter.then(rows, lambda r: r.group_by(by, maintain_order=True).agg(split.partial))
    side = cutter.read(cutter.close(partials, "partial window"))
    windows = [expression(window).alias(name) for name, window in group.windows.items()]
    dtypes = pl.LazyFrame(schema=schema).select(windows).collect_schema()
    outputs = split.named(dtypes.items())
    return cutter.then(
        side,
        lambda r: (
            r.group_by(columns, maintain_order=True).agg(split.final).select(*columns, *outputs)
        ),
    ).only


def _joined(cutter: Cutter, rows: Relation, side: Part, group: _Groups) -> Relation:
    """Give each row the values of its group."""
    keys = _named_keys(group)
    keyed = cutter.then(
        rows, lambda r: r.with_columns([key.alias(name) for name, key in keys.items()])
    )
    left = pl.LazyFrame(schema=cutter.schema(keyed))
    right = pl.LazyFrame(schema=cutter.schema(Relation((side,), 0)))
    join = parse(
        left.join(right, on=list(keys), how="left", nulls_equal=True, maintain_order="left_right")
    )
    names = exact_columns([*cutter.schema(rows), *group.windows])
    done = keyed.with_parts(
        lambda part: part.under(with_body(join, input_left=part.node, input_right=side.node), side)
    )
    return cutter.then(done, lambda r: r.select(names))
