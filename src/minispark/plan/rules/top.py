"""The largest and smallest values of columns: of each partition, then of these values."""

from __future__ import annotations

from typing import Any

import polars as pl

from minispark.plan.columns import exact_columns
from minispark.plan.decompositions import PREFIX
from minispark.plan.expressions import (
    columns_of,
    expand_all,
    is_elementwise,
    is_random,
    replace_parts,
)
from minispark.plan.placed import is_literal
from minispark.plan.polars_plan import Node, expression, expression_body, schema_of, with_body
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.operators import OperatorText

OPERATORS = (
    OperatorText(
        "`select` of `top_k`, `bottom_k`, `top_k_by`, `bottom_k_by`",
        "each task gives the rows that may be needed; one task takes those that are",
    ),
)

_LOCAL_ROWS = 1_000_000


def select_top(cutter: Cutter, node: Node, relation: Relation) -> Relation | None:
    """Select expressions of the largest or smallest values; None if they read other rows too."""
    schema = cutter.schema(relation)
    bodies = expand_all(node.body["expr"], schema)
    if relation.single or not bodies or any(name.startswith(PREFIX) for name in schema):
        return None
    tops: list[Any] = []

    def column(part: Any) -> Any:
        if not _is_top(part):
            return part
        if part not in tops:
            tops.append(part)
        return _over_candidates(part, tops.index(part))

    rest = [replace_parts(body, column) for body in bodies]
    read = {name for body in rest for name in columns_of(body)}
    sizes = [_size(top) for top in tops]
    if not tops or is_random(bodies) or not all(name.startswith(PREFIX) for name in read):
        return None
    if any(not set(columns_of(body)) for body in rest) or max(sizes) > _LOCAL_ROWS:
        return None
    rows = cutter.settle(relation)
    # Columns of different lengths do not fit in one frame.
    local = [
        value.alias(f"{PREFIX}{number}_{place}")
        for number, top in enumerate(tops)
        for place, value in enumerate(_candidates(top, max(sizes)))
    ]
    moved = cutter.gather(cutter.then(rows, lambda r: r.select(local)), "top-k")
    result = schema_of(node, {node.body["input"]: schema})
    named = [{"Alias": [body, name]} for body, name in zip(rest, result, strict=False)]
    done = moved.under(with_body(node, expr=named))
    same = len(result) == len(rest) and cutter.schema(done) == result
    return cutter.then(done, lambda r: r.select(exact_columns(result))) if same else None


def _is_top(part: Any) -> bool:
    match part:
        case {"Function": {"input": [rows, size], "function": {"TopK": _}}}:
            keys: list[Any] = []
        case {"Function": {"input": [rows, size, *keys], "function": {"TopKBy": _}}}:
            pass
        case _:
            return False
    reads = [set(columns_of(body)) for body in (rows, *keys)]
    hidden = any(name.startswith(PREFIX) for names in reads for name in names)
    by_row = all(reads) and all(map(is_elementwise, (rows, *keys)))
    return is_literal(size) and by_row and not hidden


def _size(top: Any) -> int:
    return int(pl.select(expression(top["Function"]["input"][1])).item())


def _candidates(top: Any, size: int) -> list[pl.Expr]:
    """Return what a partition gives of an expression: its rows, and the keys of these rows."""
    rows, _, *keys = top["Function"]["input"]
    count = expression_body(pl.lit(size))
    values = [rows, *keys]
    return [_with_inputs(top, [value, count, *keys]) for value in values]


def _over_candidates(top: Any, number: int) -> Any:
    rows, size, *keys = top["Function"]["input"]
    columns = [{"Column": f"{PREFIX}{number}_{place}"} for place in range(len(keys) + 1)]
    new = {"Function": {**top["Function"], "input": [columns[0], size, *columns[1:]]}}
    return {"Alias": [new, expression(rows).meta.output_name()]}


def _with_inputs(top: Any, inputs: list[Any]) -> pl.Expr:
    return expression({"Function": {**top["Function"], "input": inputs}})
