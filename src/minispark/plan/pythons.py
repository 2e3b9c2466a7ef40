"""Recognises our own Python objects inside a plan, without running anybody else's.

Resolvers and functions stand in a plan as pickles. Only the classes named here are ever loaded;
any other pickle is somebody's code and stays opaque.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import polars as pl
import polars.datatypes.classes

from minispark.plan.counters import NodeCounter
from minispark.plan.leaves import Leaf
from minispark.plan.markers import CacheHint, PartitionHint
from minispark.plan.polars_plan import Node, children

__all__ = [
    "cached_node",
    "counted_node",
    "hinted_partitions",
    "is_python",
    "leaf_of",
    "uncounted",
]

_OURS: dict[tuple[str, str], type] = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (NodeCounter, PartitionHint, CacheHint, Leaf)
}
_DTYPES = {
    (kind.__module__, kind.__qualname__): kind
    for kind in vars(polars.datatypes.classes).values()
    if isinstance(kind, type) and issubclass(kind, pl.DataType | pl.Field)
}
"""What the schema of a leaf is made of."""


class _OnlyOurs(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if found := _OURS.get((module, name)) or _DTYPES.get((module, name)):
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


def leaf_of(node: Node) -> Leaf | None:
    """Return the leaf that stands in the plan as this node, if it is one.

    A schema may hold what is not only dtypes (the names of an Enum are a column); such a leaf is
    not recognised.
    """
    match node:
        case Node(kind="Resolver", body={"resolver": {"variant": {"Python": {"resolver": data}}}}):
            found = _load(data)
            return found if isinstance(found, Leaf) else None
        case _:
            return None


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
