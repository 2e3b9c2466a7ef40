"""What the planner must know of an expression: whether it may run on a part of the rows.

Expressions are nested dicts as they stand in the binary plan. When in doubt the answer is no:
the rows are then brought together and the expression runs on all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgpack
import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.polars_plan import expression, expression_body

_REMEMBERED = 4096
"""The same expression is asked about by several rules, and by job after job."""


def walk(body: Any) -> Iterator[Any]:
    """Every dict, list and string of an expression, outermost first."""
    yield body
    if isinstance(body, dict):
        for inner in body.values():
            yield from walk(inner)
    elif isinstance(body, list) and not (body and isinstance(body[0], int)):
        for inner in body:
            yield from walk(inner)


def _schemaless(body: Any) -> Any:
    """Make an expression that Polars can judge without a schema.

    A selector becomes a column: what holds for one column holds for each; the same goes for fields
    of a struct, of which Polars cannot be asked at all. SQL's own operators
    wait for the schema to choose their kernel; each is elementwise, like the one put in place.
    """
    if isinstance(body, dict):
        if body.keys() == {"Selector"}:
            return {"Column": "any"}
        if _selects_fields(body):
            field = {"StructExpr": {"FieldByName": "any"}}
            inner = _schemaless(body["Function"]["input"])
            return {"Function": {"input": inner, "function": field}}
        if _is_sql_operator(body):
            inputs = [part for part in body["Function"]["input"] if not _is_listed(part)]
            rest = [_schemaless(part) for part in inputs]
            return {"Function": {"input": rest, "function": "Coalesce"}}
        return {key: _schemaless(inner) for key, inner in body.items()}
    if isinstance(body, list) and not (body and isinstance(body[0], int)):
        return [_schemaless(inner) for inner in body]
    return body


def _selects_fields(body: Any) -> bool:
    match body:
        case {"Function": {"function": {"StructExpr": {"SelectFields": _}}}}:
            return True
        case _:
            return False


def _is_sql_operator(body: Any) -> bool:
    function = body["Function"].get("function") if body.keys() == {"Function"} else None
    if not (isinstance(function, dict) and function.keys() == {"Sql"}):
        return False
    kind = function["Sql"]
    return isinstance(kind, dict) and bool(kind.keys() & {"Binary", "IsIn", "Round"})


def _is_listed(body: Any) -> bool:
    """Whether this is the list of an IN, which comes as a literal series."""
    return isinstance(body, dict) and "Series" in (body.get("Literal") or {})


def is_separable(body: Any) -> bool:
    """Whether every row's outcome depends on that row only (explode may give several)."""
    try:
        return _is_separable(msgpack.packb(body))
    except (TypeError, ValueError):
        # It holds a plan (a subquery), or is too deep to say.
        return False


@lru_cache(maxsize=_REMEMBERED)
def _is_separable(packed: bytes) -> bool:
    try:
        return _separable(expression(_schemaless(_unpacked(packed))))
    except (PolarsError, PanicException, ValueError, TypeError):
        return False


def _unpacked(packed: bytes) -> Any:
    return msgpack.unpackb(packed, strict_map_key=False)


def _separable(expr: pl.Expr) -> bool:
    inputs = expr.meta.pop()
    if not inputs:
        return bool(expr.meta.is_row_separable())
    try:
        own = expr.meta.is_row_separable()
    except (PolarsError, PanicException):
        # `list.eval` cannot be asked; its inner expression sees one row's list only.
        own = _is_list_eval(expr)
        inputs = inputs[-1:] if own else inputs
    return own and all(_separable(inner) for inner in inputs)


def _is_list_eval(expr: pl.Expr) -> bool:
    body = expression_body(expr)
    return isinstance(body, dict) and body.get("Eval", {}).get("variant") == "List"


def is_elementwise(body: Any) -> bool:
    """Whether the expression is separable and gives exactly one value for each row."""
    return is_separable(body) and _keeps_length(msgpack.packb(body))


@lru_cache(maxsize=_REMEMBERED)
def _keeps_length(packed: bytes) -> bool:
    body = _unpacked(packed)
    expr = expression(_schemaless(body))
    try:
        return bool(expr.meta.is_length_preserving()) or is_constant(body)
    except (PolarsError, PanicException):
        return _is_list_eval(expr)


def is_constant(body: Any) -> bool:
    """Whether the expression reads no column."""
    return not any(
        isinstance(part, dict) and ("Column" in part or "Selector" in part) for part in walk(body)
    )


def is_random(body: Any) -> bool:
    """Whether a second evaluation may give something else."""
    return any(
        isinstance(part, dict) and ("Random" in part or "AnonymousFunction" in part)
        for part in walk(body)
    )


def columns_of(body: Any) -> list[str]:
    """Names of the columns that the expression reads, each once."""
    found = (part["Column"] for part in walk(body) if isinstance(part, dict) and "Column" in part)
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))


def names_of(bodies: Sequence[Any], schema: Mapping[str, pl.DataType]) -> list[str] | None:
    """Output names of expressions over ``schema``; None where Polars refuses them."""
    try:
        frame = pl.LazyFrame(schema=schema).select([expression(body) for body in bodies])
        return frame.collect_schema().names()
    except (PolarsError, PanicException):
        return None


def _fill(body: Any, column: str) -> Any:
    if isinstance(body, dict):
        if body.keys() == {"Selector"}:
            return {"Column": column}
        return {key: _fill(inner, column) for key, inner in body.items()}
    if isinstance(body, list) and not (body and isinstance(body[0], int)):
        return [_fill(inner, column) for inner in body]
    return body


def without_patterns(expr: pl.Expr) -> pl.Expr:
    """Return ``expr`` with a column in the place of each pattern: the one of just that name."""
    return expression(_without_patterns(expression_body(expr)))


def _without_patterns(body: Any) -> Any:
    match body:
        case {"Selector": "Wildcard"}:
            return {"Column": "*"}
        case {"Selector": {"Matches": str(name)}}:
            return {"Column": name}
        case dict():
            return {key: _without_patterns(inner) for key, inner in body.items()}
        case [first, *_] if not isinstance(first, int):
            return [_without_patterns(inner) for inner in body]
        case _:
            return body


def expand(
    body: Any, schema: Mapping[str, pl.DataType], *, without: Sequence[str] = ()
) -> list[Any] | None:
    """Write a selector or wildcard out as one expression a column.

    ``without`` are columns that a wildcard leaves out (the keys of a group_by). None where the
    expression holds different selectors.
    """
    selectors: list[Any] = []
    for part in walk(body):
        if isinstance(part, dict) and part.keys() == {"Selector"} and part not in selectors:
            selectors.append(part)
    if not selectors:
        return [body]
    if len(selectors) > 1:
        return None
    names = names_of(selectors, schema)
    if names is None:
        return None
    named = isinstance(selectors[0]["Selector"], dict) and "ByName" in selectors[0]["Selector"]
    return [_fill(body, name) for name in names if named or name not in without]


def expand_all(
    bodies: Sequence[Any], schema: Mapping[str, pl.DataType], *, without: Sequence[str] = ()
) -> list[Any] | None:
    """Expand each of several expressions; None where one of them cannot be."""
    expanded: list[Any] = []
    for body in bodies:
        written = expand(body, schema, without=without)
        if written is None:
            return None
        expanded += written
    return expanded
