"""Frames beside each other: the rows of one stay, the others are cut where its partitions end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.cuts import SortKey
from minispark.plan.exchanges import RangeExchange
from minispark.plan.polars_plan import Node, with_body
from minispark.plan.relation import Cutter, Part, Relation, run_whole
from minispark.plan.rules.numbers import NUMBER, numbered
from minispark.plan.rules.operators import OperatorText
from minispark.plan.rules.scalars import beside_rows
from minispark.plan.stages import ReadMode

OPERATORS = (
    OperatorText(
        "`pl.concat` horizontal",
        "the rows of one input stay; those of the others are exchanged by ranges of their numbers",
    ),
)


def beside(cutter: Cutter, node: Node, relations: Mapping[Node, Relation]) -> Relation:
    """Put the rows of several inputs beside each other, by their numbers."""
    rows = beside_rows(cutter, node, relations)
    if rows is not None:
        return rows
    inputs = [cutter.settle(relations[child]) for child in node.body["inputs"]]
    base = max(range(len(inputs)), key=lambda number: inputs[number].partitions)
    total = sum(relation.bytes for relation in inputs)
    small = total <= cutter.settings.single_task_bytes
    if small or inputs[base].single or node.body["options"]["broadcast_unit_length"]:
        return run_whole(
            cutter, node, relations, why="frames beside each other, some perhaps of one row"
        )
    rows = cutter.materialise(inputs[base], "rows")
    cuts = _cuts(cutter, rows)
    parts: list[Part] = []
    for number, relation in enumerate(inputs):
        part = rows.only if number == base else _cut(cutter, relation, cuts, rows.partitions)
        if part is None:
            return run_whole(cutter, node, relations, why="frames beside each other")
        parts.append(part)
    top = with_body(node, inputs=[part.node for part in parts])
    return Relation((rows.only.under(top, *parts),), total)


def _cuts(cutter: Cutter, rows: Relation) -> Part:
    """Return the numbers of the first rows of all partitions but the first, as cuts."""
    counts = cutter.close(cutter.then(rows, lambda r: r.select(rows=pl.len())), "count rows")
    counts.sample = True
    zero = pl.lit(0, pl.Int64)
    first = pl.col("rows").cast(pl.Int64).cum_sum() + 1
    gathered = cutter.read(counts)
    columns = first.alias("key0"), zero.alias("task"), zero.alias("row")
    cuts = cutter.then(gathered, lambda r: r.select(columns).slice(0, rows.partitions - 1))
    return cutter.broadcast(cuts, "cuts")


def _cut(cutter: Cutter, relation: Relation, cuts: Part, count: int) -> Part | None:
    """Bring rows to the partitions that have the rows of the same numbers."""
    rows = _numbered(cutter, relation)
    if rows is None:
        return None
    (side,) = cuts.inputs
    key = SortKey(exact_column(NUMBER))
    exchange = RangeExchange(
        count, (key.key,), side_input=side.leaf, descending=(False,), nulls_last=(False,)
    )
    sided = rows.with_parts(lambda part: replace(part, inputs=(*part.inputs, side)))
    draft = cutter.close(sided, "rows beside", exchange=exchange)
    columns = exact_columns([name for name in draft.schema if name != NUMBER])
    back = cutter.read(draft, ReadMode.PARTITION, partitions=count)
    # The tasks come in order, and so do the rows of each.
    return cutter.then(back, lambda r: r.select(columns)).only


def _numbered(cutter: Cutter, relation: Relation) -> Relation | None:
    if not relation.single:
        return numbered(cutter, relation)
    if NUMBER in cutter.schema(relation):
        return None
    number = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    return cutter.then(relation, lambda r: r.with_columns(number.alias(NUMBER)))
