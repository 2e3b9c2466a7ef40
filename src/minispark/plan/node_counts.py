"""Counters on top of every node of a plan, so that a profile has the rows of each node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import polars as pl

from minispark.plan.counters import counted
from minispark.plan.markers import marker_of
from minispark.plan.node_names import node_name
from minispark.plan.polars_plan import (
    Node,
    children,
    parse,
    post_order,
    replace_children,
    with_body,
)

Flow = dict[str, tuple[str, ...]]
"""Each counted node and the counted nodes that it reads, inputs first."""

_UNCOUNTED = ("Cache", "Sink", "SinkMultiple")


def count_nodes(roots: Sequence[Node]) -> tuple[list[Node], Flow]:
    """Put a counter on top of every node that changes rows, named after the node.

    A sort that only a slice reads gets none: with a counter between them it would sort all rows.
    """
    nodes = post_order(*roots)
    readers: Counter[Node] = Counter(child for node in nodes for child in children(node))
    readers.update(roots)
    below_slices = {
        node.body["input"] for node in nodes if node.kind == "Slice" and node.body["offset"] >= 0
    }
    new: dict[Node, Node] = {}
    names: dict[Node, tuple[str, ...]] = {}
    flow: Flow = {}
    for node in nodes:
        reads = tuple(dict.fromkeys(name for child in children(node) for name in names[child]))
        new[node], names[node] = replace_children(node, new), reads
        top_k = node.kind == "Sort" and node in below_slices and readers[node] == 1
        if node.kind in _UNCOUNTED or top_k or marker_of(node) is not None:
            continue
        name = f"{len(flow) + 1} {node_name(node)}"
        flow[name], names[node] = reads, (name,)
        new[node] = _counted(new[node], name)
    return [new[root] for root in roots], flow


def _counted(node: Node, name: str) -> Node:
    return with_body(parse(counted(pl.LazyFrame(), name)), input=node)
