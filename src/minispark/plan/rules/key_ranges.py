"""Two inputs with the same sorted key: both are exchanged by the same ranges of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from minispark.plan.cuts import SortKey, chosen_cuts, sampled
from minispark.plan.exchanges import RangeExchange
from minispark.plan.polars_plan import parse, with_body
from minispark.plan.relation import Cutter, Part, Relation
from minispark.plan.stages import ReadMode, StageInput


def cuts_of(
    cutter: Cutter, inputs: Sequence[Relation], keys: Sequence[SortKey], width: int
) -> Relation:
    """Return where ranges of the keys of all inputs together begin.

    Rows with equal keys are in one range.
    """
    samples = [cutter.then(each, lambda r: sampled(r, keys, width)) for each in inputs]
    draft = cutter.close(Relation(tuple(p for each in samples for p in each.parts), 0), "sample")
    draft.sample = True
    draft.label = cutter.label([part for each in inputs for part in each.parts])
    before_all = [pl.lit(-1, pl.Int64).alias(name) for name in ("task", "row")]
    return cutter.then(
        cutter.read(draft), lambda r: chosen_cuts(r, keys, width).with_columns(before_all)
    )


def in_ranges(
    cutter: Cutter,
    relation: Relation,
    keys: Sequence[SortKey],
    *,
    cuts: StageInput,
    width: int,
    name: str,
) -> Relation:
    """Exchange rows by ranges of their keys; those of a range are in their order."""
    exchange = RangeExchange(
        width,
        tuple(key.key for key in keys),
        side_input=cuts.leaf,
        descending=tuple(key.descending for key in keys),
        nulls_last=tuple(key.nulls_last for key in keys),
    )
    sided = relation.with_parts(lambda part: replace(part, inputs=(*part.inputs, cuts)))
    draft = cutter.close(sided, name, exchange=exchange)
    return cutter.read(draft, ReadMode.PARTITION, partitions=width)


def one_after_another(cutter: Cutter, parts: Sequence[Part]) -> Part:
    """Return the rows of parts with equal columns, in the order of the parts."""
    frames = [pl.LazyFrame(schema=cutter.schema(Relation((part,), 0))) for part in parts]
    node = parse(pl.concat(frames))
    first, *others = parts
    return first.under(with_body(node, inputs=[part.node for part in parts]), *others)
