"""Splits expressions into steps, each of which the planner can compute on its own.

``(x - x.mean()).cum_sum() / x.sum()`` holds parts that need other rows. Its innermost ones, here
``x.mean()`` and ``x.sum()``, become the columns of a first step; then ``(x - a).cum_sum()`` is a
column of the next one, and what is left is computed row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.expressions import (
    columns_of,
    holds,
    is_constant,
    is_elementwise,
    is_random,
    is_separable,
    window_keys,
)
from minispark.plan.placed import ONES, input_of, is_literal, reach_of, rewritten, with_input
from minispark.plan.polars_plan import expression

HIDDEN = "__hidden_"
"""Names of the columns of steps begin so; a plan that has such a name itself runs whole."""

_FIELDS = {
    "BinaryExpr": ("left", "right"),
    "Cast": ("expr",),
    "Filter": ("input", "by"),
    "RenameAlias": ("expr",),
    "Ternary": ("predicate", "truthy", "falsy"),
}
_FAULTS = (PolarsError, PanicException, TypeError, ValueError, KeyError)


class NotInStepsError(Exception):
    """An expression has a part of which the planner does not know how to compute it."""


@dataclass(slots=True)
class Layer:
    """Parts that are computed next, each under the name of a hidden column."""

    schema: Mapping[str, pl.DataType]
    scalars: dict[str, Any] = field(default_factory=dict)
    placed: dict[str, Any] = field(default_factory=dict)
    windows: dict[str, Any] = field(default_factory=dict)
    ranks: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of all hidden columns of this layer."""
        return [*self.scalars, *self.placed, *self.windows, *self.ranks]

    def lift(self, bodies: Sequence[Any]) -> list[Any]:
        """Return expressions with a hidden column in the place of each innermost part.

        Raises
        ------
        NotInStepsError
            Some part is of no known kind.
        """
        try:
            return [self._lift(body) for body in bodies]
        except _FAULTS as error:
            raise NotInStepsError from error

    def lift_below(self, bodies: Sequence[Any]) -> list[Any]:
        """Do so only inside of the aggregates, which stay; raises as `lift` does."""
        try:
            return [self._lift_below(body) for body in bodies]
        except _FAULTS as error:
            raise NotInStepsError from error

    def _lift(self, body: Any) -> Any:
        if is_elementwise(body):
            return body
        if holds([body], "SubPlan", "AnonymousFunction", "Rolling", "KeepName") or is_random(body):
            raise NotInStepsError
        if "Over" in body:
            if window_keys([body]) is None:
                raise NotInStepsError
            return self._hidden(self.windows, body)
        placed = reach_of(body) is not None
        if placed and input_of(body) == ONES:
            return self._hidden(self.placed, body)
        if _is_aggregate(body):
            return self._lift_scalar(body)
        if placed:
            return self._lift_placed(body)
        if _is_rank(body):
            by_row = is_rows(input_of(body)) and is_elementwise(input_of(body))
            return self._hidden(self.ranks, body) if by_row else self._lift_placed(body)
        new = rewritten(body, self.schema)
        if new is not None:
            return {"Alias": [self._lift(new), _name(body)]}
        return self._lift_inputs(body)

    def _lift_scalar(self, body: Any) -> Any:
        rows = _aggregated(body)
        if rows is None or is_rows(rows):
            return self._hidden(self.scalars, body)
        kinds = self.scalars, self.placed, self.windows, self.ranks
        before = [dict(kind) for kind in kinds]
        try:
            return self._lift_aggregated(body)
        except NotInStepsError:
            if _is_stepped(body):
                raise
        # The aggregate may look at all rows at once, whatever is below it.
        self.scalars, self.placed, self.windows, self.ranks = before
        return self._hidden(self.scalars, body)

    def _lift_below(self, body: Any) -> Any:
        if is_constant(body) or _is_aggregate(body):
            rows = _aggregated(body)
            return body if rows is None or is_rows(rows) else self._lift_aggregated(body)
        return self._lift_inputs(body, self._lift_below)

    def _lift_aggregated(self, body: Any) -> Any:
        """Lift parts out of the rows that an aggregate reads."""
        rows = _aggregated(body)
        if rows is None or is_separable(rows) or _is_scalar(rows):
            raise NotInStepsError
        new = self._lift(rows)
        return _with_aggregated(body, new)

    def _lift_placed(self, body: Any) -> Any:
        rows = input_of(body)
        if is_rows(rows) and reach_of(body) is not None:
            return self._hidden(self.placed, body)
        if is_separable(rows) or _is_scalar(rows):
            raise NotInStepsError
        return with_input(body, self._lift(rows))

    def _lift_inputs(self, body: Any, lift: Any = None) -> Any:
        lift = lift or self._lift
        match body:
            case {"Alias": [inner, name]}:
                return {"Alias": [lift(inner), name]}
            case {"Function": {"input": list(inner), **rest}} if _is_rowwise_top(body):
                return {"Function": {**rest, "input": [lift(part) for part in inner]}}
            case dict() if len(body) == 1 and next(iter(body)) in _FIELDS:
                ((kind, inner),) = body.items()
                return {kind: {**inner, **{name: lift(inner[name]) for name in _FIELDS[kind]}}}
        raise NotInStepsError

    def _hidden(self, steps: dict[str, Any], body: Any) -> Any:
        name = next((name for name, other in steps.items() if other == body), None)
        if name is None:
            name = f"{HIDDEN}{len(self.schema)}_{len(self.names)}"
            steps[name] = body
        return {"Alias": [{"Column": name}, _name(body)]}


def _is_rank(body: Any) -> bool:
    match body:
        case {"Function": {"input": [_], "function": {"Rank": _}}}:
            return True
    return False


def is_rows(body: Any) -> bool:
    """Whether an expression gives one value for each row, or for each of some rows."""
    if isinstance(body, dict) and body.keys() == {"Filter"}:
        return is_rows(body["Filter"]["input"]) and is_rows(body["Filter"]["by"])
    if not columns_of(body) or _is_scalar(body):
        return False
    # The columns of steps have as many rows as all others: no rows may be dropped before.
    return is_elementwise(body) or (is_separable(body) and not _is_stepped(body))


def _is_stepped(body: Any) -> bool:
    return any(name.startswith(HIDDEN) for name in columns_of(body))


def _name(body: Any) -> str:
    return expression(body).meta.output_name()


def _is_scalar(body: Any) -> bool:
    return body == "Len" or expression(body).meta.is_scalar()


def _is_aggregate(body: Any) -> bool:
    return body == "Len" or (_is_scalar(body) and not _is_rowwise_top(body))


def _aggregated(body: Any) -> Any | None:
    """Return the rows that an aggregate reads, if it reads one expression."""
    match body:
        case {"Agg": dict(kinds)}:
            (payload,) = kinds.values()
            if isinstance(payload, list):
                return payload[0]
            given = isinstance(payload, dict) and "input" in payload and len(payload) > 1
            return payload["input"] if given else payload
        case {"Function": {"input": [rows]}}:
            return rows
    return None


def _with_aggregated(body: Any, rows: Any) -> Any:
    match body:
        case {"Agg": dict(kinds)}:
            ((kind, payload),) = kinds.items()
            if isinstance(payload, list):
                return {"Agg": {kind: [rows, *payload[1:]]}}
            given = isinstance(payload, dict) and "input" in payload and len(payload) > 1
            return {"Agg": {kind: {**payload, "input": rows} if given else rows}}
        case {"Function": {"input": [_], **rest}}:
            return {"Function": {**rest, "input": [rows]}}
    raise NotInStepsError


def _is_rowwise_top(body: Any) -> bool:
    """Whether an expression would be computed row by row if its inputs were columns."""
    match body:
        case {"Alias": _} | {"BinaryExpr": _} | {"Cast": _} | {"Ternary": _} | {"RenameAlias": _}:
            return True
        case {"Function": {"input": list(inner), **rest}}:
            columns = [part if is_literal(part) else {"Column": "any"} for part in inner]
            return is_elementwise({"Function": {**rest, "input": columns}})
    return False
