"""Rows that return to their places: stamped, moved by a key, then by ranges of their stamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.cuts import SortKey, fixed_cuts
from minispark.plan.exchanges import STAMP, Hash, RangeExchange, first_stamp
from minispark.plan.polars_plan import leaf_node, parse
from minispark.plan.relation import Cutter, Draft, Part, Relation
from minispark.plan.stages import Label, ReadMode, StageInput


def stamped(
    cutter: Cutter, relation: Relation, by: Sequence[pl.Expr], *, width: int, name: str
) -> Relation:
    """Stamp each row with its place and exchange the rows by ``by``, in ``width`` partitions.

    The rows get the column `STAMP`. They must come in the same order in every run
    (`Cutter.settle`).
    """
    draft = cutter.close(relation, name, exchange=Hash(width, tuple(by), stamped=True))
    leaf = leaf_node(f"stage{draft.id}", {**draft.schema, STAMP: pl.UInt64()})
    entry = StageInput(leaf.leaf, draft.id, ReadMode.PARTITION)
    return Relation((Part(leaf, width, inputs=(entry,)),), draft.bytes)


def in_order(
    cutter: Cutter, rows: Relation, *, tasks: int, width: int, descending: bool = False
) -> Relation:
    """Put stamped rows in the order of their stamps, and drop the stamps.

    ``tasks`` is the number of tasks that stamped the rows, ``width`` the number of partitions that
    the ordered rows have. Rows with equal stamps stay in the order of their partition.
    """
    (side,) = cutter.read(_cuts(cutter, tasks, width, descending)).only.inputs
    key = SortKey(exact_column(STAMP), descending)
    exchange = RangeExchange(
        width, (key.key,), side_input=side.leaf, descending=(descending,), nulls_last=(False,)
    )
    sided = rows.with_parts(lambda part: replace(part, inputs=(*part.inputs, side)))
    draft = cutter.close(sided, "order", exchange=exchange)
    columns = exact_columns([name for name in draft.schema if name != STAMP])
    back = cutter.read(draft, ReadMode.PARTITION, partitions=width)
    return cutter.then(
        back,
        lambda r: r.sort(key.key, descending=descending, maintain_order=True).select(columns),
    )


def _cuts(cutter: Cutter, tasks: int, width: int, descending: bool) -> Draft:  # noqa: FBT001
    """Add the stage that gives the first stamp of each range, which has the rows of some tasks."""
    firsts = sorted({number * tasks // width for number in range(1, width)} - {0})
    stamps = [first_stamp(task) for task in firsts]
    if descending:
        # A range begins with the last row of a task.
        stamps = [stamp - 1 for stamp in reversed(stamps)]
    frame = fixed_cuts(pl.Series(stamps, dtype=pl.UInt64))
    draft = cutter.close(Relation((Part(parse(frame.lazy()), 1),), 0), "cuts")
    draft.label = Label.DETERMINATE
    return draft
