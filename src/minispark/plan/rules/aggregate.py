"""group_by and selected aggregates: partial, exchange, final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.aggregates import SplitAggregates, split_aggregates
from minispark.plan.expressions import expand_all, is_constant, is_elementwise, names_of
from minispark.plan.labels import is_order_free
from minispark.plan.names import exact_columns
from minispark.plan.polars_plan import (
    Node,
    children,
    expression,
    frame_of,
    leaf_node,
    on_top,
    replace_children,
    with_body,
)
from minispark.plan.relation import Cutter, Relation
from minispark.plan.rules.whole import append, run_whole

Schema = dict[str, pl.DataType]


def group_by(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Partial and final where every aggregate splits; else rows by key, whole per partition."""
    (child,) = children(node)
    relation, body = relations[child], node.body
    if relation.single:
        ordered = is_order_free(body["aggs"]) and body["apply"] is None
        return append(node, relation if ordered else cutter.settle(relation))
    plain = body["apply"] is None and not any(body["options"].values())
    shape = _shape(cutter, node, relation) if plain else None
    if shape is None:
        return run_whole(cutter, node, relations, why="group_by of a kind not known to split")
    schema, result, keys, key_names, aggregates = shape
    split = split_aggregates([*aggregates, *body["predicates"]], schema, keys=key_names)
    if split is not None:
        return _two_steps(cutter, relation, (schema, result), (keys, key_names), split, body)
    if body["maintain_order"]:
        return run_whole(cutter, node, relations, why="group_by that keeps order")
    if not is_order_free(aggregates):
        relation = cutter.settle(relation)
    columns = [expression(key) for key in _distributing(keys)]
    width = cutter.exchange_width(relation) if columns else 1
    moved = cutter.exchange(relation, columns, partitions=width, name="group_by")
    return append(with_body(node, keys=keys), moved)


def _distributing(keys: Sequence[Any]) -> list[Any]:
    """Return the keys that may differ between rows; without any, all rows are one group.

    Polars makes a group of a constant key even where there are no rows, so such a group_by must not
    run on an empty partition.
    """
    return [key for key in keys if not is_constant(key)]


def _shape(
    cutter: Cutter, node: Node, relation: Relation
) -> tuple[Schema, Schema, list[Any], list[str], list[Any]] | None:
    """Return input and result columns, keys, their names and aggregates, selectors expanded."""
    (child,) = children(node)
    schema = cutter.schema(relation)
    result = _result_schema(node, child, schema)
    keys = expand_all(node.body["keys"], schema)
    if keys is None or not all(is_elementwise(key) for key in keys):
        return None
    key_names = names_of(keys, schema)
    if key_names is None:
        return None
    aggregates = expand_all(node.body["aggs"], schema, without=key_names)
    if aggregates is None or len(result) != len(keys) + len(aggregates):
        return None
    return schema, result, keys, key_names, aggregates


def _result_schema(node: Node, child: Node, schema: Schema) -> Schema:
    return dict(
        frame_of(replace_children(node, {child: leaf_node("rows", schema)})).collect_schema()
    )


def _two_steps(
    cutter: Cutter,
    relation: Relation,
    schemas: tuple[Schema, Schema],
    keys: tuple[list[Any], list[str]],
    split: SplitAggregates,
    body: Any,
) -> Relation:
    schema, result = schemas
    key_bodies, key_names = keys
    ordered = body["maintain_order"]
    columns = exact_columns(key_names)
    by = [expression(key).alias(name) for key, name in zip(key_bodies, key_names, strict=True)]

    def partial(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.group_by(by, maintain_order=ordered).agg(split.partial)

    def final(rows: pl.LazyFrame) -> pl.LazyFrame:
        groups = rows.group_by(columns, maintain_order=ordered).agg(split.final)
        predicates = split.outputs[len(result) - len(key_names) :]
        for predicate in predicates:
            groups = groups.filter(predicate)
        return groups.select([*columns, *_named(split, result, skip=len(key_names))])

    partials = Relation(
        tuple(part.under(on_top(part.node, schema, partial)) for part in relation.parts),
        relation.bytes,
    )
    width = cutter.exchange_width(relation) if _distributing(key_bodies) and not ordered else 1
    moved = cutter.exchange(partials, columns, partitions=width, name="partial group_by")
    top = on_top(moved.only.node, cutter.schema(moved), final)
    return Relation((moved.only.under(top),), relation.bytes)


def _named(split: SplitAggregates, result: Schema, *, skip: int) -> list[pl.Expr]:
    """Name the outputs and give them the dtypes that Polars gives them in one step."""
    columns = list(result.items())[skip:]
    outputs = split.outputs[: len(columns)]
    return [
        output.cast(dtype).alias(name)
        for output, (name, dtype) in zip(outputs, columns, strict=True)
    ]


def select_aggregates(cutter: Cutter, node: Node, relation: Relation) -> Relation | None:
    """Aggregate all rows: each partition to one row, those gathered, the rest on them."""
    (child,) = children(node)
    schema = cutter.schema(relation)
    bodies = expand_all(node.body["expr"], schema)
    if bodies is None:
        return None
    split = split_aggregates(bodies, schema, keys=())
    try:
        result = _result_schema(node, child, schema)
    except (PolarsError, PanicException):
        return None
    if split is None or len(result) != len(bodies):
        return None
    partials = Relation(
        tuple(
            part.under(on_top(part.node, schema, lambda rows: rows.select(split.partial)))
            for part in relation.parts
        ),
        relation.bytes,
    )
    moved = cutter.gather(partials, "partial aggregate")
    outputs = _named(split, result, skip=0)
    top = on_top(
        moved.only.node,
        cutter.schema(moved),
        lambda rows: rows.select(split.final).select(outputs),
    )
    return Relation((moved.only.under(top),), relation.bytes)
