"""Aggregates in two steps: a partial form for each partition, a final form for them together.

The walk takes the maximal aggregate nodes of an expression, gives each distinct one its partial
columns, and leaves the tree above them to be evaluated after the final step. So
``(pl.col("a").sum() / pl.len()).alias("x")`` and SQL's ``when(count > 0).then(sum)`` split too.
What it does not know makes it give up: the rows are then exchanged by key and the aggregate
runs whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.expressions import is_constant, is_separable, walk
from minispark.plan.names import exact_column
from minispark.plan.polars_plan import expression, expression_body

PREFIX = "__minispark_"
"""Of partial columns; a plan that uses the name itself runs whole."""

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
"""Surely more than 38 digits, however the floats of a sum were rounded."""


class _NotSplitError(Exception):
    """The expression cannot be taken apart."""


@dataclass(slots=True)
class SplitAggregates:
    """Partial expressions, final ones over their columns, and the outputs above those."""

    partial: list[pl.Expr] = field(default_factory=list)
    final: list[pl.Expr] = field(default_factory=list)
    outputs: list[pl.Expr] = field(default_factory=list)


def split_aggregates(
    bodies: Sequence[Any], schema: Mapping[str, pl.DataType], *, keys: Sequence[str]
) -> SplitAggregates | None:
    """Take expressions apart that give one value a group.

    Parameters
    ----------
    bodies
        The aggregates, selectors expanded, as they stand in the plan.
    schema
        Columns of the rows that are grouped.
    keys
        Names of the key columns of the result.

    Returns
    -------
    SplitAggregates or None
        None where one of them is not known to split.
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
        self.known: list[tuple[Any, Any]] = []

    def add(self, body: Any) -> None:
        above = self._replace(body)
        if is_constant(above) or not is_separable(above):
            raise _NotSplitError
        self.split.outputs.append(expression(above))

    def _replace(self, body: Any) -> Any:
        """Return the tree above the aggregates, over final columns."""
        if body == "Len" or (isinstance(body, dict) and body.keys() == {"Agg"}):
            return self._final_column(body)
        if isinstance(body, dict):
            if body.keys() & {"Column", "Over", "Selector", "Filter", "AnonymousFunction"}:
                raise _NotSplitError
            return {key: self._replace(inner) for key, inner in body.items()}
        if isinstance(body, list) and not (body and isinstance(body[0], int)):
            return [self._replace(inner) for inner in body]
        return body

    def _final_column(self, body: Any) -> Any:
        for known, column in self.known:
            if known == body:
                return column
        column = expression_body(self._take(body))
        self.known.append((body, column))
        return column

    def _take(self, body: Any) -> pl.Expr:
        """Plan one aggregate; return the column that holds its value after the final step."""
        if body == "Len":
            return self._counted(pl.len())
        ((kind, payload),) = body["Agg"].items()
        if kind in ("Min", "Max"):
            dtype = self._dtype(self._input(payload["input"]))
            if dtype not in _ORDERED:
                raise _NotSplitError
            method = ("nan_" if payload["propagate_nans"] else "") + kind.lower()
            return self._column(expression(body), method)
        if kind == "Count":
            self._input(payload["input"])
            return self._counted(expression(body))
        if kind == "Sum":
            dtype = self._dtype(self._input(payload))
            if dtype not in _SUMMED:
                raise _NotSplitError
            if dtype == pl.Boolean:
                return self._counted(expression(body))
            total = self._column(expression(body), "sum")
            return self._within_digits(total, self._input(payload)) if dtype.is_decimal() else total
        if kind == "Mean":
            return self._mean(self._input(payload))
        raise _NotSplitError

    def _input(self, body: Any) -> pl.Expr:
        inner = body
        if isinstance(body, dict) and body.keys() == {"Filter"}:
            if not is_separable(body["Filter"]["by"]):
                raise _NotSplitError
            inner = body["Filter"]["input"]
        if not is_separable(inner) or is_constant(inner) or _has_aggregate(body):
            raise _NotSplitError
        return expression(body)

    def _mean(self, rows: pl.Expr) -> pl.Expr:
        dtype = self._dtype(rows)
        if not (dtype.is_numeric() or dtype == pl.Boolean):
            raise _NotSplitError
        scale = 0
        if isinstance(dtype, pl.Decimal):
            # As Polars does it: the unscaled numbers as floats, which are exact up to 2^53.
            rows, scale = rows.to_physical(), dtype.scale
        total = self._column(rows.cast(pl.Float64).sum(), "sum")
        count = self._column(rows.count().cast(pl.UInt64), "sum")
        mean = total / count if scale == 0 else total / count / 10.0**scale
        return pl.when(count > 0).then(mean).cast(self._dtype(rows.mean()))

    def _within_digits(self, total: pl.Expr, rows: pl.Expr) -> pl.Expr:
        """Return a sum of decimals that fails beyond 38 digits.

        Where a group comes in several batches, Polars adds decimals without a check (2.1.0), and
        what does not fit 128 bits becomes another number: only the sum as a float shows it. Polars
        does check the addition of two columns, so one is added that is zero or too large.
        """
        dtype = self._dtype(rows)
        assert isinstance(dtype, pl.Decimal)  # noqa: S101 - the caller has looked
        if dtype.precision <= _SAFE_DIGITS:
            return total
        size = self._column(rows.cast(pl.Float64).sum(), "sum").abs()
        nines = Decimal((0, (9,) * _DIGITS, -dtype.scale))
        too_large = size >= _TOO_LARGE / 10.0**dtype.scale
        excess = pl.when(too_large).then(nines).otherwise(0).cast(pl.Decimal(_DIGITS, dtype.scale))
        return total + (excess + excess)

    def _counted(self, partial: pl.Expr) -> pl.Expr:
        """Plan a number of rows: summed as 64 bits, an error if Polars' type cannot hold it."""
        return self._column(partial.cast(pl.UInt64), "sum").cast(self._dtype(partial))

    def _dtype(self, expr: pl.Expr) -> pl.DataType:
        return self.rows.select(expr).collect_schema().dtypes()[0]

    def _column(self, partial: pl.Expr, method: str) -> pl.Expr:
        name = f"{PREFIX}{len(self.split.partial)}"
        dtype = self._dtype(partial)
        self.split.partial.append(partial.alias(name))
        final: pl.Expr = getattr(exact_column(name), method)()
        self.split.final.append(final.cast(dtype))
        return exact_column(name)


def _has_aggregate(body: Any) -> bool:
    return any(
        part == "Len" or (isinstance(part, dict) and ("Agg" in part or "Over" in part))
        for part in walk(body)
    )
