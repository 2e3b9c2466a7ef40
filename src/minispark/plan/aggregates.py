"""Aggregates in two steps: a partial form for each partition, a final form for them together.

`split_aggregates` takes the maximal aggregate nodes of an expression, gives each distinct one its
partial columns, and leaves the tree above them to be evaluated after the final step. So
``(pl.col("a").sum() / pl.len()).alias("x")`` and SQL's ``when(count > 0).then(sum)`` split too.
It gives up at any node that it does not know: the rows are then exchanged by key and the aggregate
runs whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.columns import exact_column
from minispark.plan.expressions import columns_of, holds, is_constant, is_separable, replace_parts
from minispark.plan.polars_plan import expression, expression_body

PREFIX = "__minispark_"
"""Names of partial columns begin so; a plan that has such a name itself runs whole."""

_NUMBERS = (
    pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64,
    pl.Float32, pl.Float64,
)  # fmt: skip
_ORDERED = (
    *_NUMBERS, pl.Decimal, pl.String, pl.Boolean, pl.Date, pl.Datetime, pl.Duration, pl.Time,
)  # fmt: skip
_SUMMED = (*_NUMBERS, pl.Boolean, pl.Duration, pl.Decimal)

_DIGITS = 38
_SAFE_DIGITS = 26
"""A sum of such decimals has 38 digits after 10^12 rows at the earliest."""
_TOO_LARGE = (1 + 1e-10) * 10.0**_DIGITS
"""A number that has more than 38 digits, however the floats of a sum were rounded."""


class _NotSplitError(Exception):
    """The expression cannot be split."""


@dataclass(slots=True)
class SplitAggregates:
    """Partial expressions, final expressions over their columns, and the outputs over these."""

    partial: list[pl.Expr] = field(default_factory=list)
    final: list[pl.Expr] = field(default_factory=list)
    outputs: list[pl.Expr] = field(default_factory=list)


def split_aggregates(
    bodies: Sequence[Any], schema: Mapping[str, pl.DataType], *, keys: Sequence[str]
) -> SplitAggregates | None:
    """Split expressions that give one value a group.

    Parameters
    ----------
    bodies
        The aggregates as they stand in the plan, with their selectors expanded.
    schema
        Columns of the rows that are grouped.
    keys
        Names of the key columns of the result.

    Returns
    -------
    SplitAggregates or None
        None if the planner does not know how to split one of them.
    """
    if any(name.startswith(PREFIX) for name in [*schema, *keys]):
        return None
    splitter = _Splitter(schema)
    try:
        for body in bodies:
            splitter.add(body)
    except (_NotSplitError, PolarsError, PanicException, ValueError, TypeError):
        return None
    return splitter.split


class _Splitter:
    def __init__(self, schema: Mapping[str, pl.DataType]) -> None:
        self.rows = pl.LazyFrame(schema=schema)
        self.split = SplitAggregates()
        self.columns: list[tuple[Any, Any]] = []

    def add(self, body: Any) -> None:
        above = replace_parts(body, self._final)
        if (
            is_constant(above)
            or holds(above, "Over", "Selector", "Filter", "AnonymousFunction")
            or not all(name.startswith(PREFIX) for name in columns_of(above))
            or not is_separable(above)
        ):
            raise _NotSplitError
        self.split.outputs.append(expression(above))

    def _final(self, part: Any) -> Any:
        """Return the final column of an aggregate, any other part of an expression as it is."""
        if part != "Len" and not (isinstance(part, dict) and part.keys() == {"Agg"}):
            return part
        for aggregate, column in self.columns:
            if aggregate == part:
                return column
        column = expression_body(self._plan(part))
        self.columns.append((part, column))
        return column

    def _plan(self, body: Any) -> pl.Expr:
        """Plan one aggregate; return the expression that gives its value after the final step."""
        if body == "Len":
            return self._count(pl.len())
        ((kind, payload),) = body["Agg"].items()
        if kind in ("Min", "Max"):
            if self._dtype(self._input(payload["input"])) not in _ORDERED:
                raise _NotSplitError
            method = ("nan_" if payload["propagate_nans"] else "") + kind.lower()
            return self._column(expression(body), method)
        if kind == "Count":
            self._input(payload["input"])
            return self._count(expression(body))
        if kind == "Sum":
            return self._sum(expression(body), self._input(payload))
        if kind == "Mean":
            return self._mean(self._input(payload))
        raise _NotSplitError

    def _input(self, body: Any) -> pl.Expr:
        """Return the rows that an aggregate reads, perhaps filtered, if each depends on one row."""
        rows = body
        if isinstance(body, dict) and body.keys() == {"Filter"}:
            rows = body["Filter"]["input"]
            if not is_separable(body["Filter"]["by"]):
                raise _NotSplitError
        if not is_separable(rows) or is_constant(rows) or holds(body, "Agg", "Over"):
            raise _NotSplitError
        return expression(body)

    def _sum(self, total: pl.Expr, rows: pl.Expr) -> pl.Expr:
        dtype = self._dtype(rows)
        if dtype not in _SUMMED:
            raise _NotSplitError
        if dtype == pl.Boolean:
            return self._count(total)
        total = self._column(total, "sum")
        return self._within_digits(total, rows, dtype) if isinstance(dtype, pl.Decimal) else total

    def _mean(self, rows: pl.Expr) -> pl.Expr:
        dtype = self._dtype(rows)
        if not (dtype.is_numeric() or dtype == pl.Boolean):
            raise _NotSplitError
        scale = 0
        if isinstance(dtype, pl.Decimal):
            # Like Polars: the unscaled numbers as floats, which are exact up to 2^53.
            rows, scale = rows.to_physical(), dtype.scale
        total = self._column(rows.cast(pl.Float64).sum(), "sum")
        count = self._column(rows.count().cast(pl.UInt64), "sum")
        mean = total / count if scale == 0 else total / count / 10.0**scale
        return pl.when(count > 0).then(mean).cast(self._dtype(rows.mean()))

    def _within_digits(self, total: pl.Expr, rows: pl.Expr, dtype: pl.Decimal) -> pl.Expr:
        """Return a sum of decimals that fails beyond 38 digits.

        If a group comes in several batches, Polars adds decimals without a check (2.1.0), and a
        sum that does not fit 128 bits becomes another number: only the sum as a float shows it.
        Polars does check the addition of two columns, so a column is added that is zero or too
        large.
        """
        if dtype.precision <= _SAFE_DIGITS:
            return total
        size = self._column(rows.cast(pl.Float64).sum(), "sum").abs()
        nines = Decimal((0, (9,) * _DIGITS, -dtype.scale))
        too_large = size >= _TOO_LARGE / 10.0**dtype.scale
        excess = pl.when(too_large).then(nines).otherwise(0).cast(pl.Decimal(_DIGITS, dtype.scale))
        return total + (excess + excess)

    def _count(self, partial: pl.Expr) -> pl.Expr:
        """Plan a number of rows: a sum of 64 bits, an error if Polars' type cannot hold it."""
        return self._column(partial.cast(pl.UInt64), "sum").cast(self._dtype(partial))

    def _dtype(self, expr: pl.Expr) -> pl.DataType:
        return self.rows.select(expr).collect_schema().dtypes()[0]

    def _column(self, partial: pl.Expr, method: str) -> pl.Expr:
        """Plan a partial column and its final aggregate; return the final column."""
        name = f"{PREFIX}{len(self.split.partial)}"
        dtype = self._dtype(partial)
        self.split.partial.append(partial.alias(name))
        final: pl.Expr = getattr(exact_column(name), method)()
        self.split.final.append(final.cast(dtype))
        return exact_column(name)
