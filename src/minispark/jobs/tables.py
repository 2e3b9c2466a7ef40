"""A table between two nodes of a job, and the columns and expressions that operators use of it.

Covers: columns by name, default columns, SQL expressions over a table; every error names node and
field. Does not cover: what operators do with them (`transforms`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import polars as pl
from polars.exceptions import ColumnNotFoundError, PanicException, PolarsError

from minispark.errors import UsageError
from minispark.jobs.errors import fail, polars_reason
from minispark.jobs.operators import Operator
from minispark.plan.expressions import without_patterns
from minispark.printable import did_you_mean, listed, shown

_MISSING = re.compile(r'unable to find column "(?P<name>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a node, and its name."""

    name: str
    frame: pl.LazyFrame
    schema: Mapping[str, pl.DataType]

    def without_rows(self) -> Table:
        """Return an empty table with the same columns."""
        return Table(self.name, pl.LazyFrame(schema=dict(self.schema)), self.schema)


def columns(node: Operator, field: str, names: Iterable[str], table: Table) -> list[str]:
    """Return the names as a list; each must be a column of the table and occur once."""
    unique: dict[str, None] = {}
    for name in names:
        if name not in table.schema:
            _no_column(node, field, name, table.schema, of=f" in {shown(table.name)}")
        if name in unique:
            fail(node, field, f"the column {shown(name)} is named twice")
        unique[name] = None
    return list(unique)


def _no_column(
    node: Operator, field: str, name: str, schema: Iterable[str], *, of: str = ""
) -> NoReturn:
    hint = did_you_mean(name, schema, else_list="columns are")
    fail(node, field, f"there is no column {shown(name)}{of}", code="MS-164", hint=hint)


def text_column(node: Operator, column: str | None, table: Table, *, default: str) -> str:
    """Return the column that a named function uses: ``column``, the default, or the only text."""
    if column is not None:
        (name,) = columns(node, "column", [column], table)
    elif default in table.schema:
        name = default
    else:
        texts = [name for name, dtype in table.schema.items() if dtype == pl.String]
        if len(texts) != 1:
            candidates = listed(texts) if texts else "none"
            hint = f'name one in "column"; columns are: {listed(table.schema)}'
            problem = (
                f"there is no column {shown(default)}, nor exactly one text column ({candidates})"
            )
            fail(node, "column", problem, code="MS-164", hint=hint)
        name = texts[0]
    if table.schema[name] not in (pl.String, pl.Null):
        fail(node, "column", f"the column {shown(name)} holds {table.schema[name]}, not texts")
    return name


def expression(
    node: Operator, field: str, text: str, table: Table, *, name: str | None = None
) -> pl.Expr:
    """Return a SQL expression over the columns of a table, with the name ``name`` if given.

    The text was checked before (`contract`): some texts end the process in Polars.
    """
    of = f" (of {shown(name)})" if name is not None else ""
    try:
        expr = pl.sql_expr(text)
        if expr.meta.has_multiple_outputs():
            # Polars takes a quoted name for a pattern.
            expr = without_patterns(expr)
        roots = expr.meta.root_names()
    except (PolarsError, PanicException) as error:
        fail(node, field, f"{shown(text)}{of} is not an expression: {polars_reason(error)}")
    for root in roots:
        if root not in table.schema:
            _no_column(node, field, root, table.schema, of=f" for {shown(text)}{of}")
    return expr if name is None else expr.alias(name)


def polars_failed(
    node: Operator, field: str, error: PolarsError | PanicException, schema: Iterable[str]
) -> UsageError:
    """Return our own error for an error that Polars raised for a node."""
    missing = _MISSING.search(str(error)) if isinstance(error, ColumnNotFoundError) else None
    try:
        if missing is not None:
            _no_column(node, field, missing["name"], schema)
        fail(node, field, polars_reason(error))
    except UsageError as ours:
        return ours
