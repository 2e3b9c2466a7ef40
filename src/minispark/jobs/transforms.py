"""What each operator does, in Polars' words. One function an operator.

Covers: operators over tables. Does not cover: reading files (`sources`), SQL queries (`queries`),
writing, which is the planner's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from minispark.jobs import operators as op
from minispark.jobs.functions import FILTERS, MAPS, SPLITTERS, reducer, row_count
from minispark.jobs.queries import run_query
from minispark.jobs.suggest import listed, shown
from minispark.jobs.tables import Table, columns, expression, fail, text_column
from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.markers import partitioned
from minispark.task.formats import unwritable_column

_FORMATS = {"csv": "CSV", "jsonl": "JSON", "parquet": "Parquet"}
_LEFT_ONLY = ("semi", "anti")


def transform(node: op.Operator, tables: Sequence[Table]) -> pl.LazyFrame:
    """Return the rows of a node over those of its inputs.

    Raises
    ------
    UsageError
        A column or an expression is wrong.
    polars.exceptions.PolarsError
        Polars refuses for a reason of its own; the result may still be refused when it is resolved.
    """
    return _TRANSFORMS[type(node).__mro__[1] if isinstance(node, op.Write) else type(node)](
        node, tables
    )


def _flat_map(node: op.FlatMap, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    column = text_column(node, node.column, table, default="text")
    return SPLITTERS[node.fn](table.frame, column)


def _map(node: op.Map, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    if node.expr is not None:
        made = [
            expression(node, "expr", text, table, name=name) for name, text in node.expr.items()
        ]
        return table.frame.with_columns(made)
    column = text_column(node, node.column, table, default="token")
    if node.fn is None or node.fn == "pair_with_one":
        one = pl.lit(1, dtype=pl.Int64).alias("value")
        return table.frame.select(exact_column(column).alias("key"), one)
    return table.frame.with_columns(MAPS[node.fn](exact_column(column)).alias(column))


def _filter(node: op.Filter, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    if node.fn is None:
        return table.frame.filter(expression(node, "where", node.where or "", table))
    column = text_column(node, node.column, table, default="token")
    return table.frame.filter(FILTERS[node.fn](exact_column(column)))


def _reduced(node: op.ReduceByKey | op.Reduce, table: Table, keys: Sequence[str]) -> pl.Expr:
    value = node.value
    if value is None and "value" in table.schema and "value" not in keys:
        value = "value"
    if value is None:
        if "count" in keys:
            what = "the number of rows would be a second column 'count'"
            fail(node, "value", what, hint="rename the key, or name a value")
        return row_count(node.fn)
    columns(node, "value", [value], table)
    if value in keys:
        fail(node, "value", f"the column {shown(value)} is a key already")
    dtype = table.schema[value]
    adds = dtype.is_numeric() or dtype in (pl.Boolean, pl.Duration, pl.Null)
    if node.fn == "sum" and not adds:
        fail(node, "fn", f"the column {shown(value)} holds {dtype}, of which there is no sum")
    return reducer(node.fn, value)


def _reduce_by_key(node: op.ReduceByKey, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    keys = columns(node, "key", op.names(node.key), table)
    return table.frame.group_by(exact_columns(keys)).agg(_reduced(node, table, keys))


def _reduce(node: op.Reduce, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    return table.frame.select(_reduced(node, table, ()))


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
            what = f"the column {shown(name)} of both sides would be {shown(renamed)} twice"
            fail(node, "suffix", what, hint="choose another suffix")


def _aggregate(node: op.Aggregate, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    keys = columns(node, "by", op.names(node.by), table)
    made = []
    for name, text in node.aggs.items():
        if name in keys:
            fail(node, "aggs", f"{shown(name)} is a column of 'by' already")
        expr = expression(node, "aggs", text, table, name=name)
        if not _aggregates(expr, table):
            what = f"{shown(text)} (of {shown(name)}) is no aggregate"
            fail(node, "aggs", what, hint=f"write sum({text}), max({text}), count(*) ...")
        made.append(expr)
    return table.frame.group_by(exact_columns(keys)).agg(made) if keys else table.frame.select(made)


def _aggregates(expr: pl.Expr, table: Table) -> bool:
    """Whether an expression gives one value a group; otherwise Polars would give its list."""
    empty = pl.LazyFrame(schema=dict(table.schema))
    (dtype,) = empty.select(expr).collect_schema().dtypes()
    key = pl.lit(1, dtype=pl.Int64).alias(expr.meta.output_name() + "_key")
    grouped = empty.group_by(key).agg(expr).collect_schema()
    return grouped.dtypes()[1] != pl.List(dtype)


def _select(node: op.Select, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    if isinstance(node.columns, list):
        return table.frame.select(exact_columns(columns(node, "columns", node.columns, table)))
    return table.frame.select(
        [expression(node, "columns", text, table, name=name) for name, text in node.columns.items()]
    )


def _sql(node: op.Sql, tables: Sequence[Table]) -> pl.LazyFrame:
    return run_query(node, tables)


def _union(node: op.Union, tables: Sequence[Table]) -> pl.LazyFrame:
    first, *others = tables
    for other in others:
        _check_same(node, first, other)
    return pl.concat([table.frame for table in tables], how="vertical")


def _check_same(node: op.Union, first: Table, other: Table) -> None:
    sides = f"{shown(first.name)} and {shown(other.name)}"
    if list(first.schema) != list(other.schema):
        what = f"{sides} differ in their columns: {listed(first.schema)} and {listed(other.schema)}"
        hint = "put a select node before, with the same columns in the same order"
        fail(node, "dag.edges", what, hint=hint)
    for name, dtype in first.schema.items():
        if other.schema[name] != dtype:
            what = f"{sides} differ in {shown(name)}: {dtype} and {other.schema[name]}"
            hint = 'put a map node before, with "expr" {"x": "x::double"} or the like'
            fail(node, "dag.edges", what, hint=hint)


def _distinct(node: op.Distinct, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    if node.subset is None:
        return table.frame.unique()
    subset = columns(node, "subset", op.names(node.subset), table)
    return table.frame.unique(subset=exact_columns(subset))


def _sort(node: op.Sort, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    return table.frame.sort(
        exact_columns(columns(node, "by", op.names(node.by), table)),
        descending=node.descending,
        nulls_last=node.nulls_last,
        maintain_order=True,
    )


def _limit(node: op.Limit, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    return table.frame.head(node.n)


def _repartition(node: op.Repartition, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    return partitioned(table.frame, node.n)


def _cache(_node: op.Cache, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    return table.frame


def _write(node: op.Write, tables: Sequence[Table]) -> pl.LazyFrame:
    (table,) = tables
    format_ = node.op.removeprefix("write_")
    name = unwritable_column(format_, table.schema)
    if name is not None:
        what = f"{_FORMATS[format_]} cannot hold the column {shown(name)} of {table.schema[name]}"
        able = [
            f"write_{other}" for other in _FORMATS if unwritable_column(other, table.schema) is None
        ]
        fail(node, "op", what, hint=f"use {' or '.join(able)}" if able else "cast the column")
    return table.frame


_TRANSFORMS: dict[type[op.Operator], Callable[[Any, Sequence[Table]], pl.LazyFrame]] = {
    op.FlatMap: _flat_map,
    op.Map: _map,
    op.Filter: _filter,
    op.ReduceByKey: _reduce_by_key,
    op.Reduce: _reduce,
    op.Join: _join,
    op.Aggregate: _aggregate,
    op.Select: _select,
    op.Sql: _sql,
    op.Union: _union,
    op.Distinct: _distinct,
    op.Sort: _sort,
    op.Limit: _limit,
    op.Repartition: _repartition,
    op.Cache: _cache,
    op.Write: _write,
}

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
"""The field to blame when Polars itself refuses a node: the first that is given."""
