"""Leaves out the files whose columns (names of folders, the path) pass no filter of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.file_columns import values
from minispark.plan.polars_plan import LeafNode, post_order
from minispark.plan.relation import Part
from minispark.plan.stages import ScanInput, Split


def has_file_columns(part: Part) -> bool:
    """Whether a scan of a fragment has columns with one value for each file."""
    return any(map(_names, part.scans))


def without_files(part: Part, filters: Mapping[str, Sequence[pl.Expr]]) -> Part:
    """Return a part whose scans read no file of which no row passes ``filters[leaf]``.

    The number of tasks stays: a task without files has no rows.
    """
    nodes = post_order(part.node) if has_file_columns(part) else []
    schemas = {node.leaf: node.schema for node in nodes if isinstance(node, LeafNode)}
    scans = [
        _without_files(scan, schemas[scan.leaf], filters.get(scan.leaf, ()))
        if _names(scan)
        else scan
        for scan in part.scans
    ]
    return replace(part, scans=tuple(scans))


def _without_files(
    scan: ScanInput, schema: Mapping[str, pl.DataType], filters: Sequence[pl.Expr]
) -> ScanInput:
    names = _names(scan)
    usable = [expr for expr in filters if names.issuperset(expr.meta.root_names())]
    splits = [split for task in scan.tasks for split in task]
    if not usable:
        return scan
    columns = values([split.columns for split in splits], {n: schema[n] for n in sorted(names)})
    number = "".join(("number", *names))
    try:
        passing = set(columns.with_row_index(number).filter(*usable)[number])
    except (PanicException, PolarsError):
        return scan  # The query fails likewise, if it comes to these rows.
    kept = {id(split) for index, split in enumerate(splits) if index in passing}
    tasks = (tuple(split for split in task if id(split) in kept) for task in scan.tasks)
    return replace(scan, tasks=tuple(tasks))


def _names(scan: ScanInput) -> frozenset[str]:
    first: Split | None = next((split for task in scan.tasks for split in task), None)
    return frozenset() if first is None else frozenset(first.columns)
