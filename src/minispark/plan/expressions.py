"""What the planner must know of an expression: whether it may run on a part of the rows.

Expressions are nested dicts as they stand in the binary plan. When in doubt the answer is no:
the rows are then brought together and the expression runs on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgpack
import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.polars_plan import expression, expression_body

_REMEMBERED = 4096
"""Several rules, and job after job, ask about the same expression."""
_ROW_FUNCTIONS = frozenset({"Explode", "Hint", "Rename", "Unnest", "Unpivot"})
"""Functions of frames that look at one row at a time."""
_KEEPS_PLACES = ("GroupsToRows", "Join")
"""Mappings of windows that give each row its value in the row's own place."""
_ORDER_FREE_AGGREGATES = frozenset(
    {"Sum", "Min", "Max", "Mean", "Count", "NUnique", "Median", "Std", "Var", "Quantile"}
)


def walk(body: Any) -> Iterator[Any]:
    """Yield every dict, list and string of an expression, outermost first."""
    yield body
    if isinstance(body, dict):
        for inner in body.values():
            yield from walk(inner)
    elif isinstance(body, list) and not (body and isinstance(body[0], int)):
        for inner in body:
            yield from walk(inner)


def replace_parts(body: Any, change: Callable[[Any], Any]) -> Any:
    """Return an expression with ``change(part)`` in the place of every part, outermost first."""
    body = change(body)
    if isinstance(body, dict):
        return {key: replace_parts(inner, change) for key, inner in body.items()}
    if isinstance(body, list) and not (body and isinstance(body[0], int)):
        return [replace_parts(inner, change) for inner in body]
    return body


def holds(body: Any, *kinds: str) -> bool:
    """Whether there is a node of one of these kinds anywhere in an expression."""
    return any(isinstance(part, dict) and not part.keys().isdisjoint(kinds) for part in walk(body))


def is_row_function(function: Any) -> bool:
    """Whether a function of a frame gives the rows of each row of its input, from that row only."""
    match function:
        case {"FillNan": value, **rest} if not rest:
            return is_elementwise(value)
        case dict():
            return function.keys() <= _ROW_FUNCTIONS
    return False


def fills_by_row(per_column: Sequence[Any]) -> bool:
    """Whether the columns that `match_to_schema` adds have a value from each row alone."""
    missing = [column["missing_columns"] for column in per_column]
    added = [new["InsertWith"] for new in missing if isinstance(new, dict)]
    return all(map(is_elementwise, added))


def is_constant(body: Any) -> bool:
    """Whether the expression reads no column."""
    return not holds(body, "Column", "Selector")


def is_random(body: Any) -> bool:
    """Whether a second evaluation may give something else."""
    return holds(body, "Random", "AnonymousFunction") or any(map(_is_random_rank, walk(body)))


def _is_random_rank(part: Any) -> bool:
    match part:
        case {"Rank": {"options": {"method": "Random"}}}:
            return True
    return False


def is_order_free(aggregates: Any) -> bool:
    """Whether aggregates give the same in any order of a group's rows."""
    if holds(aggregates, "Over", "Sort", "SortBy", "Gather", "Slice", "AnonymousFunction"):
        return False
    nodes = [part["Agg"] for part in walk(aggregates) if isinstance(part, dict) and "Agg" in part]
    above = replace_parts(aggregates, lambda part: "aggregate" if _is_aggregate(part) else part)
    # Only aggregates may read columns.
    return is_constant(above) and all(node.keys() <= _ORDER_FREE_AGGREGATES for node in nodes)


def _is_aggregate(part: Any) -> bool:
    return isinstance(part, dict) and ("Agg" in part or _is_order_free_function(part))


def _is_order_free_function(part: Any) -> bool:
    match part:
        case {"Function": {"function": {"Boolean": {"Any": _} | {"All": _} | {"IsEmpty": _}}}}:
            return True
        case {"Function": {"function": {"Bitwise": "And" | "Or" | "Xor"}}}:
            return True
        case {"Function": {"function": {"Correlation": _} | {"Quantile": _}}}:
            return True
        case {"Function": {"function": "NullCount" | "Product" | {"Boolean": "HasNulls"}}}:
            return True
    return False


def columns_of(body: Any) -> list[str]:
    """Return the names of the columns that the expression reads, each once."""
    names = (part["Column"] for part in walk(body) if isinstance(part, dict) and "Column" in part)
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _schemaless(body: Any) -> Any:
    """Return an expression that Polars can judge without a schema.

    A selector becomes a column: what holds for one column holds for each. The same is true for
    fields of a struct, for which Polars has no answer at all. SQL's own operators wait for the
    schema to choose their kernel; each is elementwise, like the function put in its place.
    """
    return replace_parts(body, _schemaless_part)


def _schemaless_part(part: Any) -> Any:
    match part:
        case {"Selector": _, **rest} if not rest:
            return {"Column": "any"}
        case {"Function": {"input": inputs, "function": {"StructExpr": {"SelectFields": _}}}}:
            field = {"StructExpr": {"FieldByName": "any"}}
            return {"Function": {"input": inputs, "function": field}}
        case {
            "Function": {
                "input": inputs,
                "function": {"Sql": "ToFloat" | {"Binary": _} | {"IsIn": _} | {"Round": _}},
            }
        }:
            values = [value for value in inputs if not _is_listed(value)]
            return {"Function": {"input": values, "function": "Coalesce"}}
    return part


def _is_listed(body: Any) -> bool:
    """Whether this is the list of an IN, which is a literal series."""
    return isinstance(body, dict) and "Series" in (body.get("Literal") or {})


def is_separable(body: Any) -> bool:
    """Whether the outcome of every row depends on that row only (explode may give several)."""
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
        # Polars has no answer for `list.eval`; its inner expression sees one row's list only.
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


def window_keys(bodies: Sequence[Any]) -> list[Any] | None:
    """Return the keys that all windows share; None if the windows cannot be split by key.

    A window can if it keeps each row in its place. Outside of its windows an expression must give
    each row a value of its own.
    """
    windows: list[Any] = []

    def outside(part: Any) -> Any:
        if isinstance(part, dict) and part.keys() == {"Over"}:
            windows.append(part["Over"])
            return {"Column": "window"}
        return part

    rest = [replace_parts(body, outside) for body in bodies]
    if not windows or not all(map(is_elementwise, rest)) or not all(map(_is_by_key, windows)):
        return None
    shared = [
        key
        for key in windows[0]["partition_by"]
        if not is_constant(key) and all(key in window["partition_by"] for window in windows)
    ]
    return shared or None


def _is_by_key(window: Any) -> bool:
    inner = [window["function"], window["order_by"]]
    return (
        window["mapping"] in _KEEPS_PLACES
        and all(map(is_elementwise, window["partition_by"]))
        and not holds(inner, "Over", "SubPlan")
    )


def without_patterns(expr: pl.Expr) -> pl.Expr:
    """Return ``expr`` with a column of exactly its name in the place of each pattern."""
    return expression(replace_parts(expression_body(expr), _exact))


def _exact(part: Any) -> Any:
    match part:
        case {"Selector": "Wildcard"}:
            return {"Column": "*"}
        case {"Selector": {"Matches": str(name)}}:
            return {"Column": name}
    return part


def names_of(bodies: Sequence[Any], schema: Mapping[str, pl.DataType]) -> list[str] | None:
    """Return the output names of expressions over ``schema``, None if Polars refuses them."""
    try:
        frame = pl.LazyFrame(schema=schema).select([expression(body) for body in bodies])
        return frame.collect_schema().names()
    except (PolarsError, PanicException):
        return None


def expand(
    body: Any, schema: Mapping[str, pl.DataType], *, without: Sequence[str] = ()
) -> list[Any] | None:
    """Return one expression for each column of a selector or wildcard.

    ``without`` are columns that a wildcard leaves out (the keys of a group_by). None if the
    expression holds different selectors, or a function of which Polars does not say whether it
    takes all columns of its selector at once.
    """
    unclear = False

    def function(part: Any) -> Any:
        nonlocal unclear
        inner = _function_inputs(part)
        if not any(map(_selectors, inner)):
            return part
        at_once = _takes_all(part, schema, without)
        listed = expand_all(inner, schema, without=without) if at_once else inner
        unclear = unclear or at_once is None or listed is None
        return part if listed is None else _with_function_inputs(part, listed)

    body = replace_parts(body, function)
    selectors = _selectors(body)
    if unclear or len(selectors) > 1:
        return None
    if not selectors:
        return [body]
    columns = _selected(selectors[0], schema, without)
    if columns is None:
        return None
    return [_with_column(body, selectors[0], name) for name in columns]


def _selectors(body: Any) -> list[Any]:
    """Return the different selectors of an expression."""
    found: list[Any] = []
    for part in walk(body):
        if isinstance(part, dict) and part.keys() == {"Selector"} and part not in found:
            found.append(part)
    return found


def _selected(
    selector: Any, schema: Mapping[str, pl.DataType], without: Sequence[str]
) -> list[str] | None:
    """Return the columns of a selector, None if Polars refuses it."""
    names = names_of([selector], schema)
    by_name = isinstance(selector["Selector"], dict) and "ByName" in selector["Selector"]
    return names and [name for name in names if by_name or name not in without]


def _function_inputs(part: Any) -> list[Any]:
    match part:
        case {"Function": {"input": list(inner)}} | {"AnonymousFunction": {"input": list(inner)}}:
            return inner
    return []


def _with_function_inputs(part: Any, inner: Sequence[Any]) -> Any:
    ((kind, function),) = part.items()
    return {kind: {**function, "input": inner}}


def _takes_all(
    function: Any, schema: Mapping[str, pl.DataType], without: Sequence[str]
) -> bool | None:
    """Whether a function takes all columns of a selector at once, as `sum_horizontal` does.

    Else it is a function for each of the columns. None if that is not clear.
    """
    selected = [_selected(selector, schema, without) for selector in _selectors(function)]
    used = {*columns_of(function), *(name for names in selected for name in names or ())}
    names = names_of([function], {name: schema[name] for name in schema if name in used})
    # A selector may name a column that it leaves out.
    names = names or names_of([function], schema)
    if names is None or None in selected:
        return None
    if len(names) == 1:
        return True
    return False if len(selected) == 1 else None


def _with_column(body: Any, selector: Any, name: str) -> Any:
    return replace_parts(body, lambda part: {"Column": name} if part == selector else part)


def expand_all(
    bodies: Sequence[Any], schema: Mapping[str, pl.DataType], *, without: Sequence[str] = ()
) -> list[Any] | None:
    """Expand each of several expressions; None if one of them cannot be expanded."""
    expanded: list[Any] = []
    for body in bodies:
        columns = expand(body, schema, without=without)
        if columns is None:
            return None
        expanded += columns
    return expanded
