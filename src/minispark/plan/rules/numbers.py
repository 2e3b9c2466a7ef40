"""Rows by their numbers: row indexes, long slices, every n-th row, rows in reverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.exchanges import STAMP
from minispark.plan.expressions import expand_all, names_of
from minispark.plan.layers import HIDDEN, is_rows
from minispark.plan.placed import ROWS_SO_FAR, is_literal
from minispark.plan.polars_plan import Node, expression, parse, schema_of
from minispark.plan.relation import Cutter, Relation, run_whole
from minispark.plan.rules.neighbours import stay_stamped, with_placed
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.places import in_order
from minispark.plan.rules.steps import in_steps

OPERATORS = (
    OperatorText(
        "`with_row_index`, `gather_every`, slices of more than 1,000,000 rows",
        "the number of rows of each partition goes to all tasks, and no row moves",
    ),
    OperatorText(
        "`reverse` of a frame, `select` of `reverse` only",
        "the partitions change places, and each is reversed",
    ),
)

NUMBER = f"{HIDDEN}number"
"""The column with the number of a row, from 1."""
_LARGEST = 1 << 62


def numbered(cutter: Cutter, relation: Relation) -> Relation | None:
    """Add the column `NUMBER`; None if a column has a hidden name already."""
    if any(name.startswith(HIDDEN) for name in cutter.schema(relation)):
        return None
    return with_placed(cutter, relation, {NUMBER: ROWS_SO_FAR})


def row_index(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Number the rows: the number of rows of each partition, then offsets."""
    child, options = node.body["input"], node.body["function"]["RowIndex"]
    relation = relations[child]
    whole = relation.single or cutter.order_width(relation) == 1
    rows = None if whole else numbered(cutter, relation)
    if rows is None:
        return run_whole(cutter, node, relations, why="" if whole else "its columns are hidden")
    schema = cutter.schema(relation)
    name = options["name"]
    dtype = schema_of(node, {child: schema})[name]
    index = exact_column(NUMBER) - 1 + (options["offset"] or 0)
    columns = [index.cast(dtype).alias(name), *exact_columns(schema)]
    return cutter.then(rows, lambda r: r.select(columns))


def sliced(cutter: Cutter, relation: Relation, offset: int, length: int) -> Relation | None:
    """Keep the rows of a slice in the partitions that have them."""
    rows = pl.len().cast(pl.Int64)
    first = rows + offset if offset < 0 else pl.lit(offset)

    def kept(number: pl.Expr) -> pl.Expr:
        after = number >= first
        return after if length >= _LARGEST else after & (number < first + length)

    return _by_number(cutter, relation, kept)


def _by_number(
    cutter: Cutter, relation: Relation, kept: Callable[[pl.Expr], pl.Expr]
) -> Relation | None:
    schema = cutter.schema(relation)
    node = parse(pl.LazyFrame(schema=schema).filter(kept(pl.int_range(pl.len()))))
    return in_steps(cutter, node, relation, "predicate")


def in_reverse(cutter: Cutter, relation: Relation) -> Relation | None:
    """Put the rows in reverse."""
    width = cutter.order_width(relation)
    if relation.single or width == 1 or STAMP in cutter.schema(relation):
        return None
    rows = stay_stamped(cutter, cutter.settle(relation))
    return in_order(cutter, rows, tasks=relation.partitions, width=width, descending=True)


def select_by_number(cutter: Cutter, node: Node, relation: Relation) -> Relation | None:
    """Select columns that all have the same rows, by number, of the input."""
    schema = cutter.schema(relation)
    bodies = expand_all(node.body["expr"], schema)
    names = names_of(bodies, schema) if bodies else None
    if relation.single or not bodies or names is None:
        return None
    parts = [_choice(_unnamed(body)) for body in bodies]
    choices = [choice for part in parts if part is not None for choice in [part[1]]]
    if len(choices) < len(parts) or any(choice != choices[0] for choice in choices):
        return None
    rows = _chosen(cutter, relation, choices[0])
    columns = [
        expression(part[0]).alias(name)
        for part, name in zip(parts, names, strict=True)
        if part is not None
    ]
    return None if rows is None else cutter.then(rows, lambda r: r.select(columns))


def _unnamed(body: Any) -> Any:
    while isinstance(body, dict) and body.keys() == {"Alias"}:
        body = body["Alias"][0]
    return body


def _choice(body: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """Return the rows of an expression, and which of them it gives."""
    match body:
        case {"Function": {"input": [rows], "function": {"GatherEvery": dict(options)}}}:
            choice: tuple[Any, ...] = ("every", options["n"], options["offset"])
        case {"Function": {"input": [rows], "function": "Reverse"}}:
            choice = ("reverse",)
        case {"Slice": {"input": rows, "offset": start, "length": count}} if is_literal(
            start
        ) and is_literal(count):
            values = [pl.select(expression(value)).item() for value in (start, count)]
            choice = ("slice", *values)
        case _:
            return None
    return (rows, choice) if is_rows(rows) and not _is_filtered(rows) else None


def _is_filtered(rows: Any) -> bool:
    return not expression(rows).meta.is_length_preserving()


def _chosen(cutter: Cutter, relation: Relation, choice: tuple[Any, ...]) -> Relation | None:
    match choice:
        case ("every", int(step), int(offset)):
            return _by_number(
                cutter, relation, lambda n: (n >= offset) & ((n - offset) % step == 0)
            )
        case ("reverse",):
            return in_reverse(cutter, relation)
        case ("slice", int(offset), int() | None as length):
            return sliced(cutter, relation, offset, _LARGEST if length is None else length)
    return None
