"""Aggregates in two steps: a partial form for each partition, a final form for them together.

`split_aggregates` takes the maximal aggregate nodes of an expression, gives each distinct one its
partial columns, and leaves the tree above them to be evaluated after the final step. So
``(pl.col("a").sum() / pl.len()).alias("x")`` and SQL's ``when(count > 0).then(sum)`` split too.
It gives up at any node that it does not know: the rows are then exchanged by key and the aggregate
runs whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.decompositions import PREFIX, NotSplitError, TwoSteps
from minispark.plan.expressions import columns_of, holds, is_constant, is_separable, replace_parts
from minispark.plan.polars_plan import expression, expression_body


@dataclass(frozen=True, slots=True)
class SplitAggregates:
    """Partial expressions, final expressions over their columns, and the outputs over these."""

    partial: list[pl.Expr]
    final: list[pl.Expr]
    outputs: list[pl.Expr]
    ordered: bool
    """Whether the order of rows decides."""

    def named(self, columns: Iterable[tuple[str, pl.DataType]]) -> list[pl.Expr]:
        """Return the first outputs with the names and dtypes that Polars gives in one step."""
        pairs = zip(self.outputs, columns, strict=False)
        return [output.cast(dtype).alias(name) for output, (name, dtype) in pairs]


def split_aggregates(
    bodies: Sequence[Any],
    schema: Mapping[str, pl.DataType],
    *,
    names: Sequence[str] = (),
    grouped: bool,
) -> SplitAggregates | None:
    """Split expressions that aggregate the rows of a group, or all rows.

    Parameters
    ----------
    bodies
        The aggregates as they stand in the plan, with their selectors expanded.
    schema
        Columns of the rows that are grouped.
    names
        Names of the key columns of the result.
    grouped
        Whether rows are grouped by keys that may differ.

    Returns
    -------
    SplitAggregates or None
        None if the planner does not know how to split one of them.
    """
    if any(name.startswith(PREFIX) for name in [*schema, *names]):
        return None
    splitter = _Splitter(schema, grouped=grouped)
    try:
        for body in bodies:
            splitter.add(body)
    except (NotSplitError, PolarsError, PanicException, ValueError, TypeError):
        return None
    steps = splitter.steps
    return SplitAggregates(steps.partial, steps.final, splitter.outputs, ordered=steps.ordered)


class _Splitter:
    def __init__(self, schema: Mapping[str, pl.DataType], *, grouped: bool) -> None:
        self.steps = TwoSteps(pl.LazyFrame(schema=schema), grouped)
        self.outputs: list[pl.Expr] = []
        self.columns: list[tuple[Any, Any]] = []

    def add(self, body: Any) -> None:
        while isinstance(body, dict) and body.keys() == {"Alias"}:
            body = body["Alias"][0]
        above = replace_parts(body, self._final)
        if (
            (is_constant(above) and not expression(above).meta.is_scalar())
            or holds(above, "Over", "Selector", "Filter", "AnonymousFunction")
            or not all(name.startswith(PREFIX) for name in columns_of(above))
            or not is_separable(above)
            or not self._takes_lists(above)
        ):
            raise NotSplitError
        self.outputs.append(expression(above))

    def _takes_lists(self, above: Any) -> bool:
        """Whether a function is applied to no list, which stands for the values of a group."""
        plain = isinstance(above, dict) and above.keys() == {"Column"}
        return plain or self.steps.lists.isdisjoint(columns_of(above))

    def _final(self, part: Any) -> Any:
        """Return the final column of an aggregate, any other part of an expression as it is."""
        for aggregate, column in self.columns:
            if aggregate == part:
                return column
        value = self.steps.plan(part)
        if value is None:
            return part
        self.columns.append((part, expression_body(value)))
        return self.columns[-1][1]
