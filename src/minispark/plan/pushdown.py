"""Carries what a stage needs down to the stages it reads.

Polars' own optimizer runs over each fragment and asks its leaves for columns and filters: just
what the stage below may drop before it ships a row. Stages are visited from the last to the
first, so that what one is asked for shows in what it asks.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from minispark.plan.expressions import is_random, is_separable
from minispark.plan.leaves import LeafAsk, listen
from minispark.plan.names import exact_columns
from minispark.plan.optimizations import changed_flags, query_flags
from minispark.plan.polars_plan import (
    LeafNode,
    Node,
    expression_body,
    frame_of,
    inputs,
    on_top,
    post_order,
)
from minispark.plan.relation import Draft, Part
from minispark.plan.stages import OptimizerFlags, side_inputs


def push_down(drafts: Sequence[Draft], fixed: set[int], optimizations: OptimizerFlags = ()) -> None:
    """Reduce every stage's rows to what its readers ask for, except those that are ``fixed``."""
    flags = query_flags(optimizations)
    asked: dict[int, list[LeafAsk | None]] = defaultdict(list)
    for draft in reversed(drafts):
        if draft.id not in fixed and asked[draft.id]:
            _narrow(draft, asked[draft.id])
        for part in draft.parts:
            asks = _asks(part, flags)
            for entry in part.inputs:
                asked[entry.stage] += asks.get(entry.leaf) or [None]


def _asks(part: Part, flags: pl.QueryOptFlags) -> dict[str, list[LeafAsk | None]]:
    """Let Polars optimize a fragment, and hear what it asks of its leaves.

    A use below a filter that is never true asks for nothing. Over the rows themselves the optimizer
    may not see that, so where a leaf has several uses, those are heard with their filters.
    """
    aside = side_inputs(part.scans)
    if all(entry.leaf in aside for entry in part.inputs):
        return {}
    asks = _heard(part.node, flags)
    if _reads_twice(part.node):
        as_written = query_flags((*changed_flags(flags), ("simplify_expression", False)))
        for leaf, all_asks in _heard(part.node, as_written).items():
            if len(all_asks) > len(asks[leaf]):
                asks[leaf] = all_asks
    return asks


def _heard(node: Node, flags: pl.QueryOptFlags) -> defaultdict[str, list[LeafAsk | None]]:
    with listen() as asks:
        frame_of(node).explain(engine="streaming", optimizations=flags)
    by_leaf: defaultdict[str, list[LeafAsk | None]] = defaultdict(list)
    for ask in asks:
        by_leaf[ask.leaf].append(ask)
    return by_leaf


def _reads_twice(root: Node) -> bool:
    """Whether the fragment may read a leaf more than once; what SQL reads is not known."""
    nodes = post_order(root)
    leaves = Counter(node.leaf for node in nodes if isinstance(node, LeafNode))
    shared = sum(len(inputs(node)) for node in nodes) >= len(nodes)
    return shared or max(leaves.values(), default=0) > 1 or any(n.kind == "SQL" for n in nodes)


def _narrow(draft: Draft, asks: Sequence[LeafAsk | None]) -> None:
    columns = _columns(draft, asks)
    filters = _filters(asks)
    if not filters and columns == list(draft.schema):
        return

    def build(rows: pl.LazyFrame) -> pl.LazyFrame:
        return (rows.filter(*filters) if filters else rows).select(exact_columns(columns))

    draft.parts = [
        replace(part, node=on_top(part.node, draft.schema, build)) for part in draft.parts
    ]
    if columns != list(draft.schema):
        draft.schema = {name: draft.schema[name] for name in columns}
        draft.pushed.append(f"columns {', '.join(columns)}")
    draft.pushed += [f"filter {expr}" for expr in filters]


def _columns(draft: Draft, asks: Sequence[LeafAsk | None]) -> list[str]:
    """Columns that some reader needs, and those that place the rows; at least one of them."""
    wanted = {name for key in draft.exchange.keys for name in key.meta.root_names()}
    for ask in asks:
        if ask is None or ask.columns is None:
            return list(draft.schema)
        wanted.update(ask.columns)
    kept = [name for name in draft.schema if name in wanted]
    return kept or _narrowest(draft.schema)


def _narrowest(schema: dict[str, pl.DataType]) -> list[str]:
    """One column that tells how many rows there are, a cheap one if there is."""
    fixed = [name for name, dtype in schema.items() if dtype.is_numeric() or dtype == pl.Boolean]
    return (fixed or list(schema))[:1]


def _filters(asks: Sequence[LeafAsk | None]) -> list[pl.Expr]:
    """Filters of the only reader; several readers may each want what another drops."""
    if len(asks) != 1 or asks[0] is None:
        return []
    filters = [pl.Expr.deserialize(io.BytesIO(data)) for data in asks[0].filters]
    bodies = [expression_body(expr) for expr in filters]
    return [
        expr
        for expr, body in zip(filters, bodies, strict=True)
        if is_separable(body) and not is_random(body)
    ]
