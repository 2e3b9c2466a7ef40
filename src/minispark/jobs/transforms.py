"""The operators of a job as Polars frames, one function each.

Covers: operators over tables. Does not cover: reading files (`sources`), and writing, which the
planner does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
from polars.exceptions import SQLInterfaceError

from minispark.jobs import operators as op
from minispark.jobs.errors import fail
from minispark.jobs.functions import FILTERS, MAPS, SPLITTERS, reducer, row_count
from minispark.jobs.tables import Table, columns, expression, text_column
from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.markers import partitioned
from minispark.printable import did_you_mean, listed, shown
from minispark.task.formats import unwritable_column

_FORMATS = {"csv": "CSV", "jsonl": "JSON", "parquet": "Parquet"}
_LEFT_ONLY = ("semi", "anti")
_SCAN = re.compile(r"^[A-Za-z \t]*\bSCAN\b", re.MULTILINE)
_UNKNOWN_TABLE = re.compile(r"relation '(?P<name>.*)' was not found", re.DOTALL)


def transform(node: op.Operator, tables: Sequence[Table]) -> pl.LazyFrame:
    """Return the rows of a node, computed from the rows of its inputs.

    Raises
    ------
    UsageError
        A column or an expression is wrong.
    polars.exceptions.PolarsError
        Polars refuses the node; it may also do so later, when the columns are resolved.
    """
    combine = _COMBINERS.get(type(node))
    if combine is not None:
        return combine(node, tables)
    (table,) = tables
    return _TRANSFORMS[op.Write if isinstance(node, op.Write) else type(node)](node, table)


def _flat_map(node: op.FlatMap, table: Table) -> pl.LazyFrame:
    column = text_column(node, node.column, table, default="text")
    return SPLITTERS[node.fn](table.frame, column)


def _map(node: op.Map, table: Table) -> pl.LazyFrame:
    if node.expr is not None:
        return table.frame.with_columns(
            [expression(node, "expr", text, table, name=name) for name, text in node.expr.items()]
        )
    column = text_column(node, node.column, table, default="token")
    if node.fn is None or node.fn == "pair_with_one":
        one = pl.lit(1, dtype=pl.Int64).alias("value")
        return table.frame.select(exact_column(column).alias("key"), one)
    return table.frame.with_columns(MAPS[node.fn](exact_column(column)).alias(column))


def _filter(node: op.Filter, table: Table) -> pl.LazyFrame:
    if node.fn is None:
        return table.frame.filter(expression(node, "where", node.where or "", table))
    column = text_column(node, node.column, table, default="token")
    return table.frame.filter(FILTERS[node.fn](exact_column(column)))


def _reduction(node: op.ReduceByKey | op.Reduce, table: Table, keys: Sequence[str]) -> pl.Expr:
    value = node.value
    if value is None and "value" in table.schema and "value" not in keys:
        value = "value"
    if value is None:
        if "count" in keys:
            problem = "the number of rows would be a second column 'count'"
            fail(node, "value", problem, hint="rename the key, or name a value")
        return row_count(node.fn)
    columns(node, "value", [value], table)
    if value in keys:
        fail(node, "value", f"the column {shown(value)} is a key already")
    dtype = table.schema[value]
    adds = dtype.is_numeric() or dtype in (pl.Boolean, pl.Duration, pl.Null)
    if node.fn == "sum" and not adds:
        fail(node, "fn", f"the column {shown(value)} holds {dtype}, which cannot be summed")
    return reducer(node.fn, value)


def _reduce_by_key(node: op.ReduceByKey, table: Table) -> pl.LazyFrame:
    keys = columns(node, "key", op.names(node.key), table)
    return table.frame.group_by(exact_columns(keys)).agg(_reduction(node, table, keys))


def _reduce(node: op.Reduce, table: Table) -> pl.LazyFrame:
    return table.frame.select(_reduction(node, table, ()))


def _join(node: op.Join, tables: Sequence[Table]) -> pl.LazyFrame:
    left, right = tables
    if node.how == "cross":
        _check_suffix(node, left, right, ())
        return left.frame.join(right.frame, how="cross", suffix=node.suffix)
    # Not `or`: the name of a column may be an empty text.
    if node.on is not None:
        left_on = columns(node, "on", op.names(node.on), left)
        right_on = columns(node, "on", op.names(node.on), right)
    else:
        left_on = columns(node, "left_on", op.names(node.left_on), left)
        right_on = columns(node, "right_on", op.names(node.right_on), right)
    if node.how not in _LEFT_ONLY:
        _check_suffix(node, left, right, right_on)
    return left.frame.join(
        right.frame,
        left_on=exact_columns(left_on),
        right_on=exact_columns(right_on),
        how=node.how,
        suffix=node.suffix,
        coalesce=True,
    )


def _check_suffix(node: op.Join, left: Table, right: Table, right_on: Sequence[str]) -> None:
    for name in right.schema:
        twice = name in left.schema and name not in right_on
        renamed = name + node.suffix
        if twice and (not node.suffix or renamed in left.schema or renamed in right.schema):
            problem = f"the column {shown(name)} of both sides would be {shown(renamed)} twice"
            fail(node, "suffix", problem, hint="choose another suffix")


def _aggregate(node: op.Aggregate, table: Table) -> pl.LazyFrame:
    keys = columns(node, "by", op.names(node.by), table)
    aggregates = []
    for name, text in node.aggs.items():
        if name in keys:
            fail(node, "aggs", f"{shown(name)} is a column of 'by' already")
        expr = expression(node, "aggs", text, table, name=name)
        if not _is_aggregate(expr, table):
            problem = f"{shown(text)} (of {shown(name)}) is not an aggregate"
            fail(node, "aggs", problem, hint=f"write sum({text}), max({text}), count(*) ...")
        aggregates.append(expr)
    if not keys:
        return table.frame.select(aggregates)
    return table.frame.group_by(exact_columns(keys)).agg(aggregates)


def _is_aggregate(expr: pl.Expr, table: Table) -> bool:
    """Whether an expression gives one value a group; of others Polars gives a list."""
    empty = table.without_rows().frame
    (dtype,) = empty.select(expr).collect_schema().dtypes()
    key = pl.lit(1, dtype=pl.Int64).alias(expr.meta.output_name() + "_key")
    grouped = empty.group_by(key).agg(expr).collect_schema()
    return grouped.dtypes()[1] != pl.List(dtype)


def _select(node: op.Select, table: Table) -> pl.LazyFrame:
    if isinstance(node.columns, list):
        return table.frame.select(exact_columns(columns(node, "columns", node.columns, table)))
    return table.frame.select(
        [expression(node, "columns", text, table, name=name) for name, text in node.columns.items()]
    )


def _sql(node: op.Sql, tables: Sequence[Table]) -> pl.LazyFrame:
    try:
        _check_scans(node, tables)
        return _query(node, tables)
    except SQLInterfaceError as error:
        match = _UNKNOWN_TABLE.search(str(error))
        if match is not None:
            name, inputs = match["name"], [table.name for table in tables]
            hint = did_you_mean(name, inputs, else_list="tables are the input nodes")
            fail(node, "query", f"there is no table {shown(name)}", code="MS-164", hint=hint)
        raise


def _query(node: op.Sql, tables: Sequence[Table]) -> pl.LazyFrame:
    frames = {table.name: table.frame for table in tables}
    return pl.SQLContext(frames, register_globals=False).execute(node.query, eager=False)


def _check_scans(node: op.Sql, tables: Sequence[Table]) -> None:
    """Refuse a query that reads files, by its plan over empty tables.

    Its text was checked when the job was parsed (`minispark.plan.sqltext`); this is a second check.
    """
    plan = _query(node, [table.without_rows() for table in tables]).explain(optimized=False)
    if _SCAN.search(plan):
        hint = "read files with a read_* node and draw an edge from it"
        fail(node, "query", "the query reads files by itself, which is not allowed", hint=hint)


def _union(node: op.Union, tables: Sequence[Table]) -> pl.LazyFrame:
    first, *others = tables
    for other in others:
        _check_same(node, first, other)
    return pl.concat([table.frame for table in tables], how="vertical")


def _check_same(node: op.Union, first: Table, other: Table) -> None:
    sides = f"{shown(first.name)} and {shown(other.name)}"
    if list(first.schema) != list(other.schema):
        columns_of_both = f"{listed(first.schema)} and {listed(other.schema)}"
        problem = f"{sides} differ in their columns: {columns_of_both}"
        hint = "put a select node before, with the same columns in the same order"
        fail(node, "dag.edges", problem, hint=hint)
    for name, dtype in first.schema.items():
        if other.schema[name] != dtype:
            problem = f"{sides} differ in {shown(name)}: {dtype} and {other.schema[name]}"
            hint = 'put a map node before, with "expr" {"x": "x::double"} or the like'
            fail(node, "dag.edges", problem, hint=hint)


def _distinct(node: op.Distinct, table: Table) -> pl.LazyFrame:
    if node.subset is None:
        return table.frame.unique()
    subset = columns(node, "subset", op.names(node.subset), table)
    return table.frame.unique(subset=exact_columns(subset))


def _sort(node: op.Sort, table: Table) -> pl.LazyFrame:
    return table.frame.sort(
        exact_columns(columns(node, "by", op.names(node.by), table)),
        descending=node.descending,
        nulls_last=node.nulls_last,
        maintain_order=True,
    )


def _write(node: op.Write, table: Table) -> pl.LazyFrame:
    format_ = node.op.removeprefix("write_")
    name = unwritable_column(format_, table.schema)
    if name is not None:
        column = f"the column {shown(name)} of {table.schema[name]}"
        able = [
            f"write_{other}" for other in _FORMATS if unwritable_column(other, table.schema) is None
        ]
        problem = f"{_FORMATS[format_]} cannot hold {column}"
        fail(node, "op", problem, hint=f"use {' or '.join(able)}" if able else "cast the column")
    return table.frame


_TRANSFORMS: dict[type[op.Operator], Callable[[Any, Table], pl.LazyFrame]] = {
    op.FlatMap: _flat_map,
    op.Map: _map,
    op.Filter: _filter,
    op.ReduceByKey: _reduce_by_key,
    op.Reduce: _reduce,
    op.Aggregate: _aggregate,
    op.Select: _select,
    op.Distinct: _distinct,
    op.Sort: _sort,
    op.Limit: lambda node, table: table.frame.head(node.n),
    op.Repartition: lambda node, table: partitioned(table.frame, node.n),
    op.Cache: lambda _node, table: table.frame,
    op.Write: _write,
}
"""Operators with one input."""

_COMBINERS: dict[type[op.Operator], Callable[[Any, Sequence[Table]], pl.LazyFrame]] = {
    op.Join: _join,
    op.Sql: _sql,
    op.Union: _union,
}
"""Operators with several inputs."""

MAIN_FIELDS: dict[str, tuple[str, ...]] = {
    "aggregate": ("aggs",),
    "filter": ("where", "fn"),
    "join": ("on", "left_on", "how"),
    "map": ("expr", "fn"),
    "reduce": ("fn",),
    "reduce_by_key": ("fn",),
    "select": ("columns",),
    "sort": ("by",),
    "sql": ("query",),
}
"""The field that an error of Polars is assigned to: the first of these that the node has."""
