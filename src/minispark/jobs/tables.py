"""A table on the way through a job, and what every operator asks of its columns.

Covers: columns by name, default columns, SQL expressions over a table; every mistake names node
and field. Does not cover: what operators do with them (`transforms`, `queries`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import polars as pl
from polars.exceptions import ColumnNotFoundError, PanicException, PolarsError

from minispark.errors import UsageError
from minispark.jobs.operators import Operator
from minispark.jobs.suggest import did_you_mean, listed, shown
from minispark.plan.expressions import without_patterns

_MISSING = re.compile(r'unable to find column "(?P<name>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under the name of the node that gives them."""

    name: str
    frame: pl.LazyFrame
    schema: Mapping[str, pl.DataType]


def fail(
    node: Operator, field: str, what: str, *, code: str = "MS-165", hint: str | None = None
) -> NoReturn:
    """Raise the `UsageError` that says ``what`` of a node and its field."""
    msg = f"node {shown(node.id)} ({node.op}), field {shown(field)}: {what}"
    raise UsageError(msg, code=code, node=node.id, field=field, hint=hint)


def columns(node: Operator, field: str, wanted: Iterable[str], table: Table) -> list[str]:
    """Return the columns ``wanted``, all of which the table has, each once."""
    found: dict[str, None] = {}
    for name in wanted:
        if name not in table.schema:
            _no_column(node, field, name, table.schema, of=f" in {shown(table.name)}")
        if name in found:
            fail(node, field, f"the column {shown(name)} is named twice")
        found[name] = None
    return list(found)


def _no_column(
    node: Operator, field: str, name: str, known: Iterable[str], *, of: str = ""
) -> NoReturn:
    hint = did_you_mean(name, known, else_list="columns are")
    fail(node, field, f"there is no column {shown(name)}{of}", code="MS-164", hint=hint)


def text_column(node: Operator, given: str | None, table: Table, *, default: str) -> str:
    """Return the column a named function works on: given, the default, or the only text."""
    if given is not None:
        columns(node, "column", [given], table)
        name = given
    elif default in table.schema:
        name = default
    else:
        texts = [name for name, dtype in table.schema.items() if dtype == pl.String]
        if len(texts) != 1:
            found = listed(texts) if texts else "none"
            hint = f'name one in "column"; columns are: {listed(table.schema)}'
            what = f"there is no column {shown(default)} and not just one of texts ({found})"
            fail(node, "column", what, code="MS-164", hint=hint)
        name = texts[0]
    if table.schema[name] not in (pl.String, pl.Null):
        fail(node, "column", f"the column {shown(name)} holds {table.schema[name]}, not texts")
    return name


def expression(
    node: Operator, field: str, text: str, table: Table, *, name: str | None = None
) -> pl.Expr:
    """Read a SQL expression over a table's columns, under ``name`` if it has one.

    Its text was looked at before (`contract`): Polars does not survive every text.
    """
    of = f" (of {shown(name)})" if name is not None else ""
    try:
        expr = pl.sql_expr(text)
        if expr.meta.has_multiple_outputs():
            # Polars takes a quoted name for a pattern.
            expr = without_patterns(expr)
        roots = expr.meta.root_names()
    except (PolarsError, PanicException) as error:
        fail(node, field, f"{shown(text)}{of} is no expression: {polars_reason(error)}")
    for root in roots:
        if root not in table.schema:
            _no_column(node, field, root, table.schema, of=f" for {shown(text)}{of}")
    return expr if name is None else expr.alias(name)


def polars_failed(
    node: Operator, field: str, error: PolarsError | PanicException, known: Iterable[str]
) -> UsageError:
    """Return what Polars says against a node as our own error."""
    missing = _MISSING.search(str(error)) if isinstance(error, ColumnNotFoundError) else None
    try:
        if missing is not None:
            _no_column(node, field, missing["name"], known)
        fail(node, field, polars_reason(error))
    except UsageError as ours:
        return ours


def polars_reason(error: BaseException) -> str:
    """Return the first paragraph of what Polars says, in one line: the rest is its plan."""
    text = " ".join(str(error).split("\n\n", maxsplit=1)[0].split())
    if isinstance(error, PanicException):
        text = f"Polars stopped with an internal error: {text}"
    return text if len(text) <= 300 else f"{text[:300]}..."
