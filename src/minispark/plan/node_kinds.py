"""The kinds of node of Polars' binary plan, and what the references in each of them mean.

A reference is ``{"idx": ..., "version": ...}`` everywhere; only the field says whether it names a
node of ``dsl_plans`` or a frame of ``dataframes``. A kind that is not listed here cannot be read,
nor can a node with a reference in any other field: such a plan runs whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeKind:
    """What the fields of a node refer to.

    ``inputs`` hold references to nodes: one, a list of them, or a list of ``[name, reference]``.
    ``inline`` hold lists of nodes in place. ``frames`` hold one reference to a frame each.
    ``opaque`` nodes have no inputs, and bodies in which nothing is looked for.
    """

    inputs: tuple[str, ...] = ()
    inline: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    opaque: bool = False


_ONE = NodeKind(inputs=("input",))
_TWO = NodeKind(inputs=("input_left", "input_right"))
_MANY = NodeKind(inline=("inputs",))
_SOURCE = NodeKind(opaque=True)

KINDS = {
    "Cache": _ONE,
    "DataFrameScan": NodeKind(frames=("df",)),
    "Distinct": _ONE,
    "Filter": _ONE,
    "Gather": NodeKind(inputs=("input", "idxs")),
    "GroupBy": _ONE,
    "HConcat": _MANY,
    "HStack": _ONE,
    "Join": _TWO,
    "MapFunction": _ONE,
    "MatchToSchema": _ONE,
    "MergeSorted": _TWO,
    "PipeWithSchema": _ONE,
    "Pivot": NodeKind(inputs=("input",), frames=("on_columns",)),
    "Resolver": _SOURCE,
    "SQL": NodeKind(inputs=("relations",)),
    "Scan": _SOURCE,
    "Select": _ONE,
    "Sink": _ONE,
    "SinkMultiple": _MANY,
    "Slice": _ONE,
    "Sort": _ONE,
    "Union": _MANY,
}


def is_reference(value: Any) -> bool:
    """Whether a value of a body is a reference."""
    return isinstance(value, dict) and value.keys() == {"idx", "version"}


def holds_reference(value: Any) -> bool:
    """Whether there is a reference anywhere in a value."""
    todo = [value]
    while todo:
        inner = todo.pop()
        if isinstance(inner, dict):
            if is_reference(inner):
                return True
            todo.extend(inner.values())
        elif isinstance(inner, list) and inner and not isinstance(inner[0], int):
            todo.extend(inner)
    return False
