"""How many bytes of its Parquet files a query reads, and which part of the rows it keeps.

Polars' optimizer says which columns and filters the whole query asks of each scan, and the footers
of some files say how large these columns are. How many rows pass a filter is not known: the guess
is that of System R, a third for each condition. Estimates only: they decide how rows are split and
moved, never which rows there are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.plan.leaves import LeafRequest
from minispark.plan.markers import CacheHint, marker_of
from minispark.plan.polars_plan import (
    Node,
    expression_body,
    leaf_node,
    post_order,
    rewrite,
    schema_of,
)
from minispark.plan.pushdown import requests_of
from minispark.plan.scan_files import ColumnSizes, column_sizes
from minispark.plan.scans import ScanSource
from minispark.plan.stages import OptimizerFlags, ScanFormat

_FOOTERS = 4
"""Files of one scan mostly have the same columns in the same proportions."""
_MEASURED_ROWS = 64
_VIEW_BYTES = 16
"""Of each text in memory, beside its characters; texts that are alike are stored once."""
_PASS = 1 / 3
"""The part of the rows that a condition keeps."""
_LEAST_KEPT = 0.01
"""Many conditions seldom are independent of each other."""


def with_estimates(
    roots: Sequence[Node], sources: Mapping[Node, ScanSource | str], flags: OptimizerFlags
) -> dict[Node, ScanSource | str]:
    """Return the sources, those of Parquet with estimates of what a query needs of them."""
    parquet = {
        node: source
        for node, source in sources.items()
        if isinstance(source, ScanSource) and source.spec.format is ScanFormat.PARQUET
    }
    requests = _requests(roots, list(parquet), flags) if parquet else {}
    estimates = {
        node: _estimated(parquet[node], schema_of(node), asked) for node, asked in requests.items()
    }
    return {**sources, **estimates}


def _requests(
    roots: Sequence[Node], scans: Sequence[Node], flags: OptimizerFlags
) -> dict[Node, list[LeafRequest]]:
    """Return what queries ask of some scans, for each use of a scan."""
    if any(isinstance(marker_of(node), CacheHint) for node in post_order(*roots)):
        # Another query reads other columns, and finds the kept rows only if they are cut as here.
        return {}
    requests: defaultdict[str, list[LeafRequest]] = defaultdict(list)
    try:
        leaves = {node: leaf_node(f"scan{i}", schema_of(node)) for i, node in enumerate(scans)}
        for root in roots:
            plan = rewrite(root, lambda node: leaves.get(node, node))
            for name, asked in requests_of(plan, flags).items():
                requests[name] += asked
    except (PolarsError, PanicException, OSError):
        # What is wrong with the query is said where it is cut.
        return {}
    return {node: requests[leaf.leaf] for node, leaf in leaves.items() if requests[leaf.leaf]}


def _estimated(
    source: ScanSource, schema: Mapping[str, pl.DataType], requests: Sequence[LeafRequest]
) -> ScanSource:
    needed: set[str] = set()
    for request in requests:
        needed.update(schema if request.columns is None else request.columns)
    step = -(-len(source.files) // _FOOTERS)
    total, stored, memory = 0, 0, 0.0
    for file in source.files[::step]:
        sizes = column_sizes(file.path)
        total += sum(sizes.stored.values())
        for path, size in sizes.stored.items():
            # A nested column is stored as one column for each of its fields.
            name = path if path in schema else path.split(".")[0]
            if name in needed:
                stored += size
                memory += _memory(sizes, path, schema.get(name, pl.Null()))
    if not total:
        return source
    return replace(
        source,
        needed_bytes=math.ceil(source.bytes * stored / total),
        memory_bytes=math.ceil(source.bytes * memory / total),
        kept=max(map(_kept, requests)),
    )


def _memory(sizes: ColumnSizes, path: str, dtype: pl.DataType) -> float:
    """Return about how many bytes a column takes in memory."""
    if dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean:
        return sizes.rows * _width(dtype)
    return sizes.rows * _VIEW_BYTES + sizes.decompressed[path]


@cache
def _width(dtype: pl.DataType) -> float:
    return pl.Series([None] * _MEASURED_ROWS, dtype=dtype).estimated_size() / _MEASURED_ROWS


def _kept(request: LeafRequest) -> float:
    """Return the part of the rows that pass the filters of one use."""
    conditions = sum(len(_conditions(expression_body(expr))) for expr in request.filters)
    return max(_PASS**conditions, _LEAST_KEPT)


def _conditions(body: Any) -> list[Any]:
    """Return the operands of an expression of ANDs."""
    match body:
        case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
            return _conditions(left) + _conditions(right)
    return [body]
