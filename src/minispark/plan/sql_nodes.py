"""Changes to the nodes that Polars makes of SQL: they are the same each time, and easier to split.

Polars names columns by a counter of the process, and rows that are read twice by a random number.
The names in a plan decide whether rows that an earlier job kept are found again, so here the
counter starts at 0 in each query.

The value of a subquery stands in a column beside the rows, and Polars reads it as the first value
of that column. Every row has the value, so no other row is needed for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from minispark.plan.expressions import is_constant, is_elementwise, replace_parts
from minispark.plan.polars_plan import Node, children, rewrite, schema_of, with_body

_NAME = re.compile(r"_POLARS_TMP_SQL_(\d+)")
_OPAQUE = ("DataFrameScan", "Resolver", "Scan")
_KEEPS_VALUES = ("Filter", "HStack", "Select")


def has_own_name(texts: Iterable[str]) -> bool:
    """Whether a text may be, or hold, a name that Polars has made."""
    return any(map(_NAME.search, texts))


def renumbered(root: Node) -> Node:
    """Return a plan in which the names that Polars has made have the numbers from 0.

    The planner sees which rows are read twice, so the plan needs no `Cache` nodes.
    """
    numbers: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        number = numbers.setdefault(match[1], str(len(numbers)))
        return match[0].removesuffix(match[1]) + number

    def change(node: Node) -> Node:
        if node.kind in _OPAQUE:
            return node
        if node.kind == "Cache":
            below: Node = node.body["input"]
            return below
        return Node(node.kind, _with_texts(node.body, lambda text: _NAME.sub(name, text)))

    return rewrite(root, change)


def _with_texts(body: Any, change: Callable[[str], str]) -> Any:
    """Return a body with other texts; nodes in it stay."""
    match body:
        case str():
            return change(body)
        case dict():
            return {change(key): _with_texts(value, change) for key, value in body.items()}
        case list() if not (body and isinstance(body[0], int)):
            return [_with_texts(value, change) for value in body]
    return body


def with_plain_values(root: Node) -> Node:
    """Return a plan that reads the value of a subquery in each row, not in the first row."""
    values: dict[Node, frozenset[str]] = {}

    def change(node: Node) -> Node:
        below = [values[child] for child in children(node)]
        new = _plain(node, below[0]) if below and below[0] else node
        values[new] = _values_of(new, below)
        return new

    return rewrite(root, change)


def _values_of(node: Node, below: list[frozenset[str]]) -> frozenset[str]:
    """Return the columns of a node that have one value in all rows, from a subquery each."""
    match node:
        case Node(kind="HConcat", body={"options": {"broadcast_unit_length": True}}):
            return below[0].union(*(_names_of_value(child) for child in node.body["inputs"][1:]))
        case Node(kind=kind) if kind in _KEEPS_VALUES:
            return below[0]
    return frozenset()


def _names_of_value(node: Node) -> tuple[str, ...]:
    match node:
        case Node(kind="Select", body={"expr": [{"Alias": [_, str(name)]}]}) if _NAME.search(name):
            return (name,)
    return ()


def _plain(node: Node, values: frozenset[str]) -> Node:
    match node.kind:
        case "Filter":
            return with_body(node, predicate=_of_row(node.body["predicate"], values))
        case "HStack":
            return with_body(node, exprs=[_of_row(body, values) for body in node.body["exprs"]])
        case "Select":
            given = node.body["expr"]
            bodies = [_of_row(body, values) for body in given]
            has_rows = any(is_elementwise(body) and not is_constant(body) for body in given)
            return with_body(node, expr=bodies) if has_rows else node
        case "GroupBy":
            fields = {name: node.body[name] for name in ("aggs", "predicates")}
            columns = schema_of(node.body["input"])
            ordered = frozenset(n for n in values if n in columns and _is_ordered(columns[n]))
            largest = {
                name: [_of_group(b, ordered) for b in bodies] for name, bodies in fields.items()
            }
            return with_body(node, **largest)
    return node


def _of_row(body: Any, values: frozenset[str]) -> Any:
    new = replace_parts(body, lambda part: _without_first(part, values))
    return new if is_elementwise(new) else body


def _of_group(body: Any, values: frozenset[str]) -> Any:
    """Return an aggregate that takes the largest of the equal values: no order decides about it."""

    def largest(part: Any) -> Any:
        column = _without_first(part, values)
        return (
            part if column is part else {"Agg": {"Max": {"input": column, "propagate_nans": False}}}
        )

    return replace_parts(body, largest)


def _without_first(part: Any, values: frozenset[str]) -> Any:
    match part:
        case {"Agg": {"First": {"Column": str(name)} as column}} if name in values:
            return column
    return part


def _is_ordered(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.Boolean, pl.String)
