"""Recognises our own Python objects inside a plan, without running anybody else's.

Functions stand in a plan as pickles. Only the classes named here are ever loaded;
any other pickle is somebody's code and stays opaque.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from minispark.plan.counters import NodeCounter
from minispark.plan.leaves import LeafCallback
from minispark.plan.markers import CacheHint, PartitionHint
from minispark.plan.polars_plan import Node, children

_OURS: dict[tuple[str, str], type] = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (NodeCounter, PartitionHint, CacheHint, LeafCallback)
}


class _OnlyOurs(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if found := _OURS.get((module, name)):
            return found
        msg = f"{module}.{name} is not ours"
        raise pickle.UnpicklingError(msg)


def _load(data: Any) -> Any:
    """Load a pickle as Polars stores it: a list of bytes, two version bytes and a flag first."""
    start = data.index(128) if 128 in data[:8] else 0
    try:
        return _OnlyOurs(io.BytesIO(bytes(data[start:]))).load()
    except (pickle.UnpicklingError, AttributeError, EOFError, IndexError, ValueError, TypeError):
        return None


def is_leaf(node: Node) -> bool:
    """Whether the plan node is a `Leaf`, which only reads what its task binds to it."""
    match node:
        case Node(kind="PipeWithSchema", body={"callback": data}):
            return isinstance(_load(data), LeafCallback)
        case _:
            return False


def is_python(node: Node) -> bool:
    """Whether the plan node runs a Python function."""
    if node.kind != "MapFunction":
        return False
    function = node.body["function"]
    return isinstance(function, dict) and "OpaquePython" in function


def _function(node: Node) -> Any:
    return _load(node.body["function"]["OpaquePython"]["function"]) if is_python(node) else None


def counted_node(node: Node) -> str | None:
    """Name of the DAG node that this plan node counts, if it is a counter."""
    found = _function(node)
    return found.node if isinstance(found, NodeCounter) else None


def uncounted(node: Node) -> Node:
    """Return what lies below the counters on top of a node."""
    while counted_node(node) is not None:
        (node,) = children(node)
    return node


def hinted_partitions(node: Node) -> int | None:
    """Number of partitions that this plan node asks for, if it is a hint."""
    found = _function(node)
    return found.partitions if isinstance(found, PartitionHint) else None


def cached_node(node: Node) -> str | None:
    """Name of the DAG node whose rows this plan node asks to keep, if it does."""
    found = _function(node)
    return found.node if isinstance(found, CacheHint) else None
