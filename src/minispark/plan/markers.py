"""Our own Python objects inside a plan: what they are, and how the planner recognises them.

A marker is put on top of rows that have a name in a DAG, or of which a user asked something. It
changes no row. The planner takes hints out of the plan; counters stay in and count.

Functions are pickles in a plan. Only the classes of `_OURS` are ever loaded: any other pickle is
code of a user, and stays opaque.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import polars as pl

from minispark.plan.counters import NodeCounter
from minispark.plan.leaves import LeafCallback
from minispark.plan.polars_plan import Node
from minispark.plan.stored import StoredRows


class PartitionHint:
    """Asks for ``partitions`` partitions of the rows below; changes nothing."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return the rows as they are."""
        return batch


class CacheHint:
    """Asks to cache the rows below, under the name of the DAG node ``node``; changes nothing."""

    def __init__(self, node: str) -> None:
        self.node = node

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return the rows as they are."""
        return batch


Marker = NodeCounter | PartitionHint | CacheHint

_OURS: dict[tuple[str, str], type] = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (NodeCounter, PartitionHint, CacheHint, LeafCallback, StoredRows)
}


def partitioned(frame: pl.LazyFrame, partitions: int) -> pl.LazyFrame:
    """Return ``frame`` with a hint that asks for a number of partitions."""
    return frame.map_batches(PartitionHint(partitions), streamable=True)


def cached(frame: pl.LazyFrame, node: str) -> pl.LazyFrame:
    """Return ``frame`` with a hint that asks to keep its rows for later jobs."""
    return frame.map_batches(CacheHint(node), streamable=True)


def marker_of(node: Node) -> Marker | None:
    """Return the marker that a plan node is, None for any other node."""
    marker = _load(node.body["function"]["OpaquePython"]["function"]) if is_python(node) else None
    return marker if isinstance(marker, Marker) else None


def counted_node(node: Node) -> str | None:
    """Return the name of the DAG node that a plan node counts, None if it is not a counter."""
    marker = marker_of(node)
    return marker.node if isinstance(marker, NodeCounter) else None


def uncounted(node: Node) -> Node:
    """Return the first node below the counters on top of a node."""
    while counted_node(node) is not None:
        node = node.body["input"]
    return node


def is_python(node: Node) -> bool:
    """Whether a plan node runs a Python function."""
    function = node.body["function"] if node.kind == "MapFunction" else None
    return isinstance(function, dict) and "OpaquePython" in function


def is_leaf(node: Node) -> bool:
    """Whether a plan node is a leaf of ours, which reads rows that its task gives it."""
    return isinstance(_callback(node), LeafCallback | StoredRows)


def stored_rows(node: Node) -> StoredRows | None:
    """Return the rows of a result that a plan node reads, None for any other node."""
    callback = _callback(node)
    return callback if isinstance(callback, StoredRows) else None


def _callback(node: Node) -> object:
    match node:
        case Node(kind="PipeWithSchema", body={"callback": data}):
            return _load(data)
        case _:
            return None


class _OnlyOurs(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if kind := _OURS.get((module, name)):
            return kind
        msg = f"{module}.{name} is not ours"
        raise pickle.UnpicklingError(msg)


def _load(data: Any) -> Any:
    """Load a pickle as Polars stores it: a list of bytes, two version bytes and a flag first."""
    start = data.index(128) if 128 in data[:8] else 0
    try:
        return _OnlyOurs(io.BytesIO(bytes(data[start:]))).load()
    except (pickle.UnpicklingError, AttributeError, EOFError, IndexError, ValueError, TypeError):
        return None
