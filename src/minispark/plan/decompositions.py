"""How each aggregate is taken in two steps: columns of a partition, then of all partitions.

`TwoSteps.plan` turns an aggregate, as it stands in a plan, into partial columns, final aggregates
over them, and an expression of the value. An aggregate that is not here needs all rows of a group.

Order counts for the first and last rows only: partial rows come in the order of partitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce
from operator import and_
from typing import Any

import polars as pl

from minispark.plan.columns import exact_column
from minispark.plan.expressions import holds, is_constant, is_elementwise, is_separable
from minispark.plan.polars_plan import expression, expression_body

PREFIX = "__minispark_"
"""Names of partial columns begin so; a plan that has such a name itself runs whole."""

_SUMMED = (pl.Boolean, pl.Duration, pl.Decimal, pl.Null)
_AVERAGED = (pl.Boolean, pl.Duration, pl.Decimal, pl.Date, pl.Datetime, pl.Time)
_DAY_US = 86_400_000_000.0

_DIGITS = 38
_SAFE_DIGITS = 26
"""A sum of such decimals has 38 digits after 10^12 rows at the earliest."""
_TOO_LARGE = (1 + 1e-10) * 10.0**_DIGITS
"""A number that has more than 38 digits, however the floats of a sum were rounded."""


class NotSplitError(Exception):
    """The expression cannot be split."""


@dataclass(slots=True)
class TwoSteps:
    """The partial and final columns of some aggregates over rows with the columns of ``rows``."""

    rows: pl.LazyFrame
    grouped: bool
    """Whether there are keys; then a partial row stands for one row at least."""
    partial: list[pl.Expr] = field(default_factory=list)
    final: list[pl.Expr] = field(default_factory=list)
    lists: set[str] = field(default_factory=set)
    """Final columns that hold the several values of a group as a list."""
    ordered: bool = False
    """Whether the order of rows decides."""

    def plan(self, body: Any) -> pl.Expr | None:
        """Plan an aggregate; return the expression of its value after the final step.

        Returns None if ``body`` is no aggregate.

        Raises
        ------
        NotSplitError
            The aggregate needs all rows of a group together.
        """
        match body:
            case "Len":
                return self._count(pl.len())
            case {"Agg": aggregate}:
                return self._aggregate(expression(body), aggregate)
            case {"Function": {"input": [inner, *others], "function": function}}:
                return self._function(body, inner, others, function)
            case {"Slice": slice_}:
                return self._slice(body, slice_)
        return None

    def _aggregate(self, value: pl.Expr, aggregate: Any) -> pl.Expr:  # noqa: C901
        match aggregate:
            case {"Count": {"input": inner}}:
                self._input(inner)
                return self._count(value)
            case {"Min": {"input": inner, "propagate_nans": nans}}:
                return self._extreme(value, inner, "nan_min" if nans else "min")
            case {"Max": {"input": inner, "propagate_nans": nans}}:
                return self._extreme(value, inner, "nan_max" if nans else "max")
            case {"First": inner}:
                return self._end(value, inner, "first")
            case {"Last": inner}:
                return self._end(value, inner, "last")
            case {"FirstNonNull": inner}:
                return self._known_end(value, inner, "first")
            case {"LastNonNull": inner}:
                return self._known_end(value, inner, "last")
            case {"Sum": inner}:
                return self._sum(value, inner)
            case {"Mean": inner}:
                return self._mean(value, inner)
            case {"Var": [inner, ddof]}:
                return self._variance(value, inner, ddof, root=False)
            case {"Std": [inner, ddof]}:
                return self._variance(value, inner, ddof, root=True)
            case {"NUnique": inner}:
                return self._distinct(value, inner)
        raise NotSplitError

    def _function(self, body: Any, inner: Any, others: list[Any], function: Any) -> pl.Expr | None:
        match function:
            case {"Boolean": {"Any": options}}:
                return self._again(body, inner, lambda rows: rows.any(**options))
            case {"Boolean": {"All": options}}:
                return self._again(body, inner, lambda rows: rows.all(**options))
            case {"Boolean": "HasNulls"}:
                return self._again(body, inner, lambda rows: rows.any())
            case {"Boolean": {"IsEmpty": _}}:
                return self._again(body, inner, lambda rows: rows.all())
            case "NullCount":
                self._input(inner)
                return self._count(expression(body))
            case "Product":
                return self._product(body, inner)
            case {"Bitwise": "And" | "Or" | "Xor"}:
                return self._again(body, inner, lambda rows: _with_input(body, rows))
            case {"Correlation": {"method": "Pearson"}}:
                return self._correlation(expression(body), inner, *others, ddof=None)
            case {"Correlation": {"method": {"Covariance": int(ddof)}}}:
                return self._correlation(expression(body), inner, *others, ddof=ddof)
        return None

    def _again(self, body: Any, inner: Any, final: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
        self._input(inner)
        return self._column(expression(body), final)

    def _input(self, body: Any) -> pl.Expr:
        """Return the rows that an aggregate reads, perhaps filtered, if each depends on one row."""
        rows = body
        if isinstance(body, dict) and body.keys() == {"Filter"}:
            rows = body["Filter"]["input"]
            if not is_separable(body["Filter"]["by"]):
                raise NotSplitError
        if not is_separable(rows) or is_constant(rows) or holds(body, "Agg", "Over"):
            raise NotSplitError
        return expression(body)

    def _extreme(self, value: pl.Expr, inner: Any, method: str) -> pl.Expr:
        if self._dtype(self._input(inner)).is_nested():
            raise NotSplitError
        return self._column(value, lambda rows: getattr(rows, method)())

    def _end(self, value: pl.Expr, inner: Any, method: str) -> pl.Expr:
        """Plan the first or last row; a partition without rows of a group has neither."""
        rows = self._input(inner)
        self.ordered = True
        if self.grouped and is_elementwise(inner):
            return self._column(value, lambda rows: getattr(rows, method)())
        count = self._partial(rows.len())
        return self._column(value, lambda ends: getattr(ends.filter(count > 0), method)())

    def _known_end(self, value: pl.Expr, inner: Any, method: str) -> pl.Expr:
        self._input(inner)
        self.ordered = True
        return self._column(value, lambda rows: getattr(rows, method)(ignore_nulls=True))

    def _sum(self, total: pl.Expr, inner: Any) -> pl.Expr:
        rows = self._input(inner)
        dtype = self._dtype(rows)
        if not (dtype in _SUMMED or _is_number(dtype)):
            raise NotSplitError
        if dtype == pl.Boolean:
            return self._count(total)
        total = self._column(total, lambda sums: sums.sum())
        return self._within_digits(total, rows, dtype) if isinstance(dtype, pl.Decimal) else total

    def _mean(self, value: pl.Expr, inner: Any) -> pl.Expr:
        rows = self._input(inner)
        dtype = self._dtype(rows)
        if dtype == pl.Null:
            return self._column(value, lambda means: means.first())
        if not (dtype in _AVERAGED or _is_number(dtype)):
            raise NotSplitError
        scale = 1.0
        if isinstance(dtype, pl.Decimal):
            # Like Polars: the unscaled numbers as floats, which are exact up to 2^53.
            rows, scale = rows.to_physical(), 10.0**dtype.scale
        elif dtype.is_temporal():
            rows = rows.to_physical()
        total = self._column(rows.cast(pl.Float64).sum(), lambda sums: sums.sum())
        count = self._column(rows.count().cast(pl.UInt64), lambda counts: counts.sum())
        mean = total / count if scale == 1.0 else total / count / scale
        mean = pl.when(count > 0).then(mean)
        if dtype.is_temporal():
            mean = (mean * (_DAY_US if dtype == pl.Date else 1.0)).cast(pl.Int64)
        return mean.cast(self._dtype(value))

    def _within_digits(self, total: pl.Expr, rows: pl.Expr, dtype: pl.Decimal) -> pl.Expr:
        """Return a sum of decimals that fails beyond 38 digits.

        If a group comes in several batches, Polars adds decimals without a check (2.1.0), and a
        sum that does not fit 128 bits becomes another number: only the sum as a float shows it.
        Polars does check the addition of two columns, so a column is added that is zero or too
        large.
        """
        if dtype.precision <= _SAFE_DIGITS:
            return total
        size = self._column(rows.cast(pl.Float64).sum(), lambda sums: sums.sum()).abs()
        nines = Decimal((0, (9,) * _DIGITS, -dtype.scale))
        too_large = size >= _TOO_LARGE / 10.0**dtype.scale
        excess = pl.when(too_large).then(nines).otherwise(0).cast(pl.Decimal(_DIGITS, dtype.scale))
        return total + (excess + excess)

    def _product(self, body: Any, inner: Any) -> pl.Expr:
        dtype = self._dtype(self._input(inner))
        if not (_is_number(dtype) or dtype == pl.Boolean):
            raise NotSplitError
        return self._again(body, inner, lambda rows: rows.product())

    def _variance(self, value: pl.Expr, inner: Any, ddof: int, *, root: bool) -> pl.Expr:
        rows = self._input(inner)
        dtype = self._dtype(rows)
        if dtype == pl.Null:
            return self._column(value, lambda variances: variances.first())
        if not (_is_number(dtype) or dtype in (pl.Boolean, pl.Decimal)):
            raise NotSplitError
        count, (squares,) = self._moments([rows])
        variance = pl.when(count > ddof).then(squares / (count - ddof))
        return (variance.sqrt() if root else variance).cast(self._dtype(value))

    def _correlation(self, value: pl.Expr, left: Any, right: Any, *, ddof: int | None) -> pl.Expr:
        if not (is_elementwise(left) and is_elementwise(right)):
            raise NotSplitError
        rows = [self._input(left), self._input(right)]
        if not all(_is_number(dtype) or dtype == pl.Boolean for dtype in map(self._dtype, rows)):
            raise NotSplitError
        count, (xx, xy, yy) = self._moments(rows)
        if ddof is None:
            result = pl.when(count > 0).then(xy / (xx.sqrt() * yy.sqrt()))
        else:
            result = pl.when(count > ddof).then(xy / (count - ddof))
        return result.cast(self._dtype(value))

    def _moments(self, rows: list[pl.Expr]) -> tuple[pl.Expr, list[pl.Expr]]:
        """Return the number of rows without a null, and the sums of products of deviations.

        The sums are those of each column with each column from itself on. Those of partitions are
        merged as Chan, Golub and LeVeque do: no large numbers are subtracted from each other.
        """
        known = reduce(and_, [column.is_not_null() for column in rows])
        columns = [pl.when(known).then(column.cast(pl.Float64)) for column in rows]
        count = self._partial(columns[0].count().cast(pl.Float64))
        means = [self._partial(column.mean()) for column in columns]
        offsets = [mean - (count * mean).sum() / count.sum() for mean in means]
        sums: list[pl.Expr] = []
        for first, left in enumerate(columns):
            for second, right in enumerate(columns[first:], start=first):
                inside = left.var(ddof=0) if first == second else pl.cov(left, right, ddof=0)
                between = (count * offsets[first] * offsets[second]).sum()
                products = self._partial(inside * left.count())
                sums.append(self._final(products.sum() + between))
        return self._final(count.sum()), sums

    def _distinct(self, value: pl.Expr, inner: Any) -> pl.Expr:
        """Plan a number of distinct values: those of each partition, as a list."""
        values = self._partial(self._input(inner).unique(maintain_order=True).implode())
        dtype = self._dtype(value)
        return self._final(_exploded(values).n_unique()).cast(dtype)

    def _slice(self, body: Any, slice_: Any) -> pl.Expr:
        """Plan the first or last few rows of a group."""
        offset, length = _integer(slice_["offset"]), _integer(slice_["length"])
        if offset is None or length is None or offset not in (0, -length):
            raise NotSplitError
        if not self.grouped:
            raise NotSplitError
        self._input(slice_["input"])
        self.ordered = True
        few = expression_body(_exploded(self._partial(expression(body))))
        final = self._final(expression({"Slice": {**slice_, "input": few}}))
        self.lists.add(final.meta.output_name())
        return final

    def _count(self, partial: pl.Expr) -> pl.Expr:
        """Plan a number of rows: a sum of 64 bits, an error if Polars' type cannot hold it."""
        total = self._column(partial.cast(pl.UInt64), lambda counts: counts.sum())
        return total.cast(self._dtype(partial))

    def _dtype(self, expr: pl.Expr) -> pl.DataType:
        return self.rows.select(expr).collect_schema().dtypes()[0]

    def _column(self, partial: pl.Expr, final: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
        """Plan a partial column and its final aggregate; return the final column."""
        dtype = self._dtype(partial)
        return self._final(final(self._partial(partial)).cast(dtype))

    def _partial(self, partial: pl.Expr) -> pl.Expr:
        """Plan a partial column and return it."""
        name = f"{PREFIX}{len(self.partial)}"
        self.partial.append(partial.alias(name))
        return exact_column(name)

    def _final(self, final: pl.Expr) -> pl.Expr:
        """Plan an aggregate over partial columns and return the final column."""
        name = f"{PREFIX}{len(self.final)}"
        self.final.append(final.alias(name))
        return exact_column(name)


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.is_float()


def _exploded(lists: pl.Expr) -> pl.Expr:
    return lists.explode(empty_as_null=False, keep_nulls=False)


def _with_input(body: Any, rows: pl.Expr) -> pl.Expr:
    """Return the function ``body`` of ``rows`` in the place of its first input."""
    function = body["Function"]
    inner = [expression_body(rows), *function["input"][1:]]
    return expression({"Function": {**function, "input": inner}})


def _integer(body: Any) -> int | None:
    """Return the value of an integer that stands in a query, None for any other expression."""
    match body:
        case {"Literal": {"Dyn": {"Int": bytes(value)}}}:
            return int.from_bytes(value, "big", signed=True)
    return None
