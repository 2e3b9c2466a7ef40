"""Expressions of aggregates, cumulative functions, windows and columns, computed in steps.

The parts of which the expressions consist become hidden columns, each in the way of its kind; what
is left needs one row at a time. The hidden columns are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.columns import exact_columns
from minispark.plan.expressions import expand_all, is_elementwise, names_of
from minispark.plan.layers import HIDDEN, Layer, NotInStepsError, is_rows
from minispark.plan.polars_plan import (
    Node,
    expression,
    expression_body,
    parse,
    schema_of,
    with_body,
)
from minispark.plan.relation import Cutter, Relation, Schema
from minispark.plan.rules.neighbours import with_placed
from minispark.plan.rules.ranks import back_in_place, in_rank_order
from minispark.plan.rules.scalars import with_scalars
from minispark.plan.rules.window import windows

_LAYERS = 12
"""Expressions that need more steps than this run whole."""


def in_steps(cutter: Cutter, node: Node, relation: Relation, field: str) -> Relation | None:
    """Compute the expressions in ``field`` of a node in steps; None if they must run whole."""
    try:
        return _in_steps(cutter, node, relation, field)
    except (PolarsError, PanicException):
        return None  # Polars judges some expressions only with their schema.


def _in_steps(cutter: Cutter, node: Node, relation: Relation, field: str) -> Relation | None:
    schema = cutter.schema(relation)
    if relation.single or cutter.order_width(relation) == 1:
        return None
    if any(name.startswith(HIDDEN) for name in schema):
        return None
    given = node.body[field]
    bodies = expand_all(given if isinstance(given, list) else [given], schema)
    result = schema_of(node, {node.body["input"]: schema})
    if not bodies or (node.kind == "Select" and all(map(_is_scalar, bodies))):
        return None
    names = names_of(bodies, schema)
    lifted = _lifted(cutter, relation, bodies)
    if lifted is None or names is None:
        return None
    rows, rest = lifted
    if not all(map(is_elementwise, rest)) and not (len(rest) == 1 and is_rows(rest[0])):
        return None
    rest = [{"Alias": [body, name]} for body, name in zip(rest, names, strict=True)]
    top = with_body(node, **{field: rest if isinstance(given, list) else rest[0]})
    columns = exact_columns(result)
    done = cutter.then(rows.under(top), lambda r: r.select(columns))
    return done if cutter.schema(done) == result else None


def _is_scalar(body: Any) -> bool:
    return bool(expression(body).meta.is_scalar())


def _lifted(
    cutter: Cutter, relation: Relation, bodies: Sequence[Any]
) -> tuple[Relation, list[Any]] | None:
    """Compute all parts that need other rows; return the rows and what is left to compute."""
    rest = list(bodies)
    for _ in range(_LAYERS):
        if all(map(is_elementwise, rest)) or (len(rest) == 1 and is_rows(rest[0])):
            return relation, rest
        layer = Layer(cutter.schema(relation))
        try:
            rest = layer.lift(rest)
        except NotInStepsError:
            return None
        added = _with_layer(cutter, relation, layer)
        if added is None or not layer.names:
            return None
        relation = added
    return None


def _with_layer(cutter: Cutter, relation: Relation, layer: Layer) -> Relation | None:
    if layer.scalars:
        relation = with_scalars(cutter, relation, layer.scalars)
    rows = with_placed(cutter, relation, layer.placed) if layer.placed else relation
    for name, body in layer.ranks.items():
        rows = None if rows is None else _with_rank(cutter, rows, name, body)
    return rows if rows is None or not layer.windows else _with_windows(cutter, rows, layer)


def _with_rank(cutter: Cutter, relation: Relation, name: str, body: Any) -> Relation | None:
    sorted_rows = in_rank_order(cutter, relation, name, body)
    if sorted_rows is None:
        return None
    rows, rank = sorted_rows
    lifted = _lifted(cutter, rows, [expression_body(rank)])
    if lifted is None:
        return None
    ranked = cutter.then(lifted[0], lambda r: r.with_columns(expression(lifted[1][0]).alias(name)))
    columns = list(cutter.schema(relation))
    return back_in_place(cutter, ranked, name, columns, like=relation)


def _with_windows(cutter: Cutter, relation: Relation, layer: Layer) -> Relation | None:
    bodies = [{"Alias": [body, name]} for name, body in layer.windows.items()]
    schema = cutter.schema(relation)
    node = _with_columns(schema, bodies)
    together = windows(cutter, node, relation, "exprs")
    if together is not None:
        return together
    rows: Relation | None = relation
    for body in bodies:
        if rows is not None:
            rows = windows(cutter, _with_columns(cutter.schema(rows), [body]), rows, "exprs")
    return rows


def _with_columns(schema: Schema, bodies: Sequence[Any]) -> Node:
    node = parse(pl.LazyFrame(schema=schema).with_columns(pl.lit(0)))
    return with_body(node, exprs=list(bodies))
