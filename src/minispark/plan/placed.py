"""Functions whose value in a row depends on rows near it, or on all rows before or after it.

`reach_of` says what a task needs beside its own rows to compute such a function:

- *neighbours*: some rows before or after, for a shift, a difference, a window of rows;
- *a state*: one value for each partition before (or after), from which the function goes on. The
  last value that a cumulative function or a fill gave is such a state: computed over the states of
  the partitions before and then over the own rows, the function gives what it gives over all rows.

`rewritten` writes other functions as expressions of these, of aggregates and of windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from minispark.plan.polars_plan import expression, expression_body

_CUMULATIVE = frozenset({"CumSum", "CumProd", "CumMin", "CumMax"})
_NOT_INTERPOLATED = (pl.String, pl.Boolean, pl.Binary, pl.List)
"""Polars leaves values of these dtypes as they are."""
_ROLLING = frozenset({"Min", "Max", "Mean", "Sum", "Quantile", "Var", "Std", "Skew", "Kurtosis"})

ONES = expression_body(pl.lit(1, pl.Int64).alias("__hidden_one"))
"""A one in each row."""
ROWS_SO_FAR = expression_body(expression(ONES).cum_sum())
"""The number of rows up to each row, and with it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a function of a row needs beside the row: rows around it, or a state."""

    before: int = 0
    """Number of rows before."""
    after: int = 0
    state: bool = False
    """Whether one value for each partition before (after if ``reverse``) is enough."""
    reverse: bool = False


def reach_of(body: Any) -> Reach | None:
    """Return what a function needs beside its row; None if it is not known."""
    match body:
        case {"Function": {"input": [_], "function": dict(function)}} if len(function) == 1:
            ((name, options),) = function.items()
            return _reach_of_one(name, options)
        case {"Function": {"input": [_], "function": "PeakMax" | "PeakMin"}}:
            return Reach(before=1, after=1)
        case {"Function": {"input": [_, rows, *fill], "function": function}} if function in (
            "Shift",
            "ShiftAndFill",
            "PctChange",
            {"Diff": "Ignore"},
        ) and all(map(is_literal, (rows, *fill))):
            return _around(pl.select(expression(rows)).item())
    return None


def _reach_of_one(name: str, options: Any) -> Reach | None:
    if name in _CUMULATIVE:
        return Reach(state=True, reverse=options["reverse"])
    match name, options:
        case "FillNullWithStrategy", {"Forward": limit}:
            return Reach(state=True) if limit is None else Reach(before=limit)
        case "FillNullWithStrategy", {"Backward": limit}:
            return Reach(state=True, reverse=True) if limit is None else Reach(after=limit)
        case "RollingExpr", {"function": str(kind), "options": window} if kind in _ROLLING:
            rows = window["window_size"]
            return Reach(before=rows, after=rows) if window["center"] else Reach(before=rows - 1)
    return None


def _around(rows: int | None) -> Reach | None:
    return None if rows is None else Reach(before=max(rows, 0), after=max(-rows, 0))


def is_literal(body: Any) -> bool:
    """Whether an expression is one value that stands in the plan."""
    return isinstance(body, dict) and body.keys() == {"Literal"} and "Series" not in body["Literal"]


def with_input(body: Any, rows: Any) -> Any:
    """Return a function of `reach_of` over other rows."""
    function = body["Function"]
    return {"Function": {**function, "input": [rows, *function["input"][1:]]}}


def input_of(body: Any) -> Any:
    """Return the rows that a function of `reach_of` reads."""
    return body["Function"]["input"][0]


def row_number() -> pl.Expr:
    """Return the number of each row, from 0."""
    return expression(ROWS_SO_FAR) - 1


def rewritten(body: Any, schema: Mapping[str, pl.DataType]) -> Any | None:
    """Return a function as an expression that can be split; None if it is not known."""
    match body:
        case {"Function": {"input": [first, "Len"], "function": {"Range": {"IntRange": options}}}}:
            starts = is_literal(first) and pl.select(expression(first)).item() == 0
            index = row_number().cast(_dtype(body, schema)) if options["step"] == 1 else None
            return expression_body(index) if starts and index is not None else None
        case {"Function": {"input": [rows], "function": function}}:
            new = _rewritten_function(expression(rows), _dtype(rows, schema), function)
            return None if new is None else expression_body(new)
    return None


def _dtype(body: Any, schema: Mapping[str, pl.DataType]) -> pl.DataType:
    (dtype,) = pl.LazyFrame(schema=schema).select(expression(body)).collect_schema().dtypes()
    return dtype


def _rewritten_function(rows: pl.Expr, dtype: pl.DataType, function: Any) -> pl.Expr | None:
    match function:
        case {"CumCount": {"reverse": reverse}}:
            return rows.is_not_null().cum_sum(reverse=reverse)
        case {"FillNullWithStrategy": "Min" | "Max" | "Mean" as kind} if dtype.is_numeric():
            value: pl.Expr = getattr(rows, kind.lower())()
            return rows.fill_null(value.cast(dtype))
        case {"Boolean": str(name)} if dtype != pl.Object:
            return _by_value(rows, name)
        case {"Interpolate": "Linear"} if dtype.is_integer() or dtype.is_float():
            return _interpolated(rows, dtype)
        case {"Interpolate": "Linear"} if dtype in _NOT_INTERPOLATED:
            return rows
        case "RLEID" if not dtype.is_nested():
            return (rows.ne_missing(rows.shift(1)) & (row_number() > 0)).cum_sum()
    return None


def _by_value(rows: pl.Expr, name: str) -> pl.Expr | None:
    """Return what a function that compares rows with all others gives, as a window over equals."""
    number = pl.int_range(pl.len()).over(rows)
    match name:
        case "IsFirstDistinct":
            return number == 0
        case "IsLastDistinct":
            return number == pl.len().over(rows) - 1
        case "IsUnique":
            return pl.len().over(rows) == 1
        case "IsDuplicated":
            return pl.len().over(rows) > 1
    return None


def _interpolated(rows: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return values on the line between the values before and behind, rounded as Polars does."""
    float_type = dtype if dtype.is_float() else pl.Float64()
    values, number = rows.cast(float_type), row_number()
    place = pl.when(rows.is_not_null()).then(number)
    low, high = values.forward_fill(), values.backward_fill()
    first, last = place.forward_fill(), place.backward_fill()
    slope = (high - low) / (last - first).cast(float_type)
    line = low + (number - first).cast(float_type) * slope
    known = pl.when(rows.is_not_null()).then(values)
    return known.when(low.is_not_null() & high.is_not_null()).then(line)
