"""Windows: rows with equal keys meet in one partition and return to their order.

Each row is stamped with its place, exchanged by the keys that all windows share, and exchanged
again by ranges of its stamp. Whatever a window computes it computes over whole groups in their
order, so every function, `order_by` and mapping that keeps rows in their places is split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.cuts import SortKey, fixed_cuts
from minispark.plan.exchanges import STAMP, Hash, RangeExchange, first_stamp
from minispark.plan.expressions import expand_all, names_of, window_keys
from minispark.plan.polars_plan import Node, expression, leaf_node, parse, with_body
from minispark.plan.relation import Cutter, Draft, Part, Relation, Schema
from minispark.plan.stages import Label, ReadMode, StageInput


def windows(cutter: Cutter, node: Node, relation: Relation, field: str) -> Relation | None:
    """Split the windows in ``field`` of a node; None if they must run whole."""
    given = node.body[field]
    schema = cutter.schema(relation)
    width = cutter.order_width(relation)
    bodies = expand_all(given if isinstance(given, list) else [given], schema)
    keys = window_keys(bodies) if bodies else None
    if relation.single or width == 1 or bodies is None or keys is None:
        return None
    names = names_of(bodies, schema)
    if names is None or STAMP in names or STAMP in schema:
        return None
    by = [expression(key) for key in keys]
    if not all(_is_hashed(key, schema) for key in by):
        return None
    tasks = relation.partitions
    rows = _stamped(cutter, cutter.settle(relation), by, width)
    if node.kind == "Select":
        bodies = [*bodies, {"Column": STAMP}]
    rows = rows.under(with_body(node, **{field: bodies if isinstance(given, list) else bodies[0]}))
    return _in_order(cutter, rows, tasks=tasks, width=width)


def _is_hashed(key: pl.Expr, schema: Schema) -> bool:
    dtypes = pl.LazyFrame(schema=schema).select(key).collect_schema().dtypes()
    return len(dtypes) == 1 and not (dtypes[0].is_nested() or dtypes[0] == pl.Object)


def _stamped(cutter: Cutter, relation: Relation, by: Sequence[pl.Expr], width: int) -> Relation:
    draft = cutter.close(relation, "window", exchange=Hash(width, tuple(by), stamped=True))
    leaf = leaf_node(f"stage{draft.id}", {**draft.schema, STAMP: pl.UInt64()})
    entry = StageInput(leaf.leaf, draft.id, ReadMode.PARTITION)
    return Relation((Part(leaf, width, inputs=(entry,)),), draft.bytes)


def _in_order(cutter: Cutter, rows: Relation, *, tasks: int, width: int) -> Relation:
    """Put stamped rows in order again, and drop the stamps."""
    (side,) = cutter.read(_cuts(cutter, tasks, width)).only.inputs
    key = SortKey(exact_column(STAMP))
    exchange = RangeExchange(
        width, (key.key,), side_input=side.leaf, descending=(False,), nulls_last=(False,)
    )
    sided = rows.with_parts(lambda part: replace(part, inputs=(*part.inputs, side)))
    draft = cutter.close(sided, "order", exchange=exchange)
    columns = exact_columns([name for name in draft.schema if name != STAMP])
    back = cutter.read(draft, ReadMode.PARTITION, partitions=width)
    return cutter.then(
        back, lambda r: r.sort(exact_column(STAMP), maintain_order=True).select(columns)
    )


def _cuts(cutter: Cutter, tasks: int, width: int) -> Draft:
    """Add the stage that gives the first stamp of each range, which has the rows of some tasks."""
    firsts = sorted({number * tasks // width for number in range(1, width)} - {0})
    frame = fixed_cuts(pl.Series([first_stamp(task) for task in firsts], dtype=pl.UInt64))
    draft = cutter.close(Relation((Part(parse(frame.lazy()), 1),), 0), "cuts")
    draft.label = Label.DETERMINATE
    return draft
