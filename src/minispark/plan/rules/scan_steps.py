"""Options of a scan that are operators over its rows: a limit, and row numbers of text formats.

`lower_scans` puts them above the scan as nodes of their own, whose rules split them. The footers of
Parquet and IPC files count rows, so their scans number rows themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from minispark.errors import UsageError
from minispark.plan.polars_plan import (
    Node,
    on_top,
    post_order,
    replace_children,
    schema_of,
    with_body,
)
from minispark.plan.scan_options import WholeScanError
from minispark.plan.scans import scan_source

_TEXT_FORMATS = ("Csv", "NDJson", "Lines")


def lower_scans(roots: Sequence[Node]) -> list[Node]:
    """Return plans with nodes in the place of options of their scans, where that is the same."""
    new: dict[Node, Node] = {}
    for node in post_order(*roots):
        same = replace_children(node, new)
        new[node] = _lowered(same) if node.kind == "Scan" else same
    return [new[root] for root in roots]


def _lowered(node: Node) -> Node:
    arguments = node.body["unified_scan_args"]
    limit, index = arguments["pre_slice"], arguments["row_index"]
    if next(iter(node.body["scan_type"])) not in _TEXT_FORMATS:
        index = None
    rows = limit["Positive"] if limit and "Positive" in limit else None
    if (rows is None and index is None) or (limit and rows is None):
        return node
    fields = {"pre_slice": None} | ({"row_index": None} if index else {})
    core = with_body(node, unified_scan_args={**arguments, **fields}, **_without(node, fields))
    try:
        scan_source(core.body)
    except (WholeScanError, UsageError):
        return node

    def steps(frame: pl.LazyFrame) -> pl.LazyFrame:
        if index:
            frame = frame.with_row_index(index["name"], index["offset"])
        return frame.slice(rows["offset"], rows["len"]) if rows else frame

    schema = schema_of(core)
    lowered = on_top(core, schema, steps)
    # Polars infers the dtypes of text from the rows that it may read.
    return lowered if _same(schema_of(lowered), schema_of(node)) else node


def _without(node: Node, fields: Mapping[str, None]) -> dict[str, Any]:
    """Return the type of a scan of CSV without what its own options repeat."""
    ((kind, body),) = node.body["scan_type"].items()
    if kind != "Csv":
        return {}
    repeated = {"n_rows": None} if "pre_slice" in fields else {}
    repeated |= {"row_index": None} if "row_index" in fields else {}
    options = {**body["options"], **repeated}
    return {"scan_type": {kind: {**body, "options": options}}}


def _same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return list(left.items()) == list(right.items())
