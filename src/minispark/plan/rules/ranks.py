"""Ranks: the rows are sorted by the key, numbered, and return to their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.exchanges import STAMP
from minispark.plan.placed import row_number
from minispark.plan.polars_plan import expression, parse
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.neighbours import stay_stamped
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.order import sort
from minispark.plan.rules.places import in_order

OPERATORS = (
    OperatorText(
        "`rank` in `select`, `with_columns`, `filter`",
        "rows are sorted by the key as in `sort`, numbered, and return to their order",
        "`method='random'`",
    ),
)


def in_rank_order(
    cutter: Cutter, relation: Relation, name: str, body: Any
) -> tuple[Relation, pl.Expr] | None:
    """Sort rows by the key of a rank; return them and the rank as an expression of their order."""
    schema = cutter.schema(relation)
    if STAMP in schema:
        return None
    options = body["Function"]["function"]["Rank"]["options"]
    key, place = f"{name}_key", f"{name}_place"
    value = expression(body["Function"]["input"][0]).alias(key)
    own = stay_stamped(cutter, cutter.settle(relation))
    columns = [*exact_columns(schema), exact_column(STAMP).alias(place), value]
    own = cutter.then(own, lambda r: r.select(columns))
    (dtype,) = pl.LazyFrame(schema=schema).select(expression(body)).collect_schema().dtypes()
    in_key_order = pl.LazyFrame(schema=cutter.schema(own)).sort(
        exact_column(key), descending=options["descending"], nulls_last=True, maintain_order=True
    )
    node = parse(in_key_order)
    rows = sort(cutter, node, {node.body["input"]: own})
    rank = _rank(exact_column(key), options["method"])
    return rows, pl.when(exact_column(key).is_not_null()).then(rank).cast(dtype)


def _rank(key: pl.Expr, method: str) -> pl.Expr:
    number = row_number() + 1
    begins = key.ne_missing(key.shift(1)) | (number == 1)
    ends = key.ne_missing(key.shift(-1)) | (number == pl.len())
    first = pl.when(begins).then(number).forward_fill()
    last = pl.when(ends).then(number).backward_fill()
    match method:
        case "Ordinal":
            return number
        case "Dense":
            return begins.cum_sum()
        case "Min":
            return first
        case "Max":
            return last
    return (first + last) / 2


def back_in_place(
    cutter: Cutter, rows: Relation, name: str, columns: Sequence[str], *, like: Relation
) -> Relation:
    """Return the rows of `in_rank_order` to the places that they had in ``like``."""
    place = exact_column(f"{name}_place").alias(STAMP)
    stamped = cutter.then(rows, lambda r: r.select(*exact_columns([*columns, name]), place))
    width = cutter.order_width(like)
    return in_order(cutter, stamped, tasks=like.partitions, width=width)
