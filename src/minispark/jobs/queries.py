"""SQL over the tables of a job, and nothing but them.

The text was looked at when the job was parsed (`plan.sqltext`); here the plan is looked at too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl
from polars.exceptions import PolarsError, SQLInterfaceError

from minispark.jobs.operators import Sql
from minispark.jobs.suggest import did_you_mean, shown
from minispark.jobs.tables import Table, fail

_SCAN = re.compile(r"^[A-Za-z \t]*\bSCAN\b", re.MULTILINE)
_UNKNOWN_TABLE = re.compile(r"relation '(?P<name>.*)' was not found", re.DOTALL)


def run_query(node: Sql, tables: Sequence[Table]) -> pl.LazyFrame:
    """Return the rows of a query.

    Raises
    ------
    UsageError
        It reads something that is not an input.
    """
    try:
        _check_scans(node, tables)
        return _execute(node.query, {table.name: table.frame for table in tables})
    except SQLInterfaceError as error:
        _fail_unknown_table(node, error, tables)
        raise


def _execute(query: str, frames: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
    return pl.SQLContext(frames, register_globals=False).execute(query, eager=False)


def _check_scans(node: Sql, tables: Sequence[Table]) -> None:
    """Look at the plan of the query over empty tables: it must not read any file."""
    empty = {table.name: pl.LazyFrame(schema=dict(table.schema)) for table in tables}
    plan = _execute(node.query, empty).explain(optimized=False)
    if _SCAN.search(plan):
        hint = "read files with a read_* node and draw an edge from it"
        fail(node, "query", "the query reads files by itself, which is not allowed", hint=hint)


def _fail_unknown_table(node: Sql, error: PolarsError, tables: Sequence[Table]) -> None:
    match = _UNKNOWN_TABLE.search(str(error))
    if match is not None:
        known = [table.name for table in tables]
        hint = did_you_mean(match["name"], known, else_list="tables are the input nodes")
        fail(node, "query", f"there is no table {shown(match['name'])}", code="MS-164", hint=hint)
