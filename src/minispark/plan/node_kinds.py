"""The kinds of node of Polars' binary plan, and what the references in each of them mean.

Every reference is ``{"idx": ..., "version": ...}``; only its field says whether it names a node of
``dsl_plans`` or a frame of ``dataframes``. A plan runs whole if it has a node of a kind that is not
listed here, or a reference in any other field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeKind:
    """The names of the fields of a node that refer to something.

    Each of ``inputs`` holds a reference to a node, a list of them, or a list of
    ``[name, reference]``. Each of ``inline`` holds a list of nodes in place. Each of ``frames``
    holds a reference to a frame. ``opaque`` nodes have no inputs; their bodies are not searched.
    """

    inputs: tuple[str, ...] = ()
    inline: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    opaque: bool = False


_ONE_INPUT = (
    *("Cache", "Distinct", "Filter", "GroupBy", "HStack", "MapFunction", "MatchToSchema"),
    *("PipeWithSchema", "Select", "Sink", "Slice", "Sort"),
)
KINDS = {
    **dict.fromkeys(_ONE_INPUT, NodeKind(inputs=("input",))),
    **dict.fromkeys(("Join", "MergeSorted"), NodeKind(inputs=("input_left", "input_right"))),
    **dict.fromkeys(("HConcat", "SinkMultiple", "Union"), NodeKind(inline=("inputs",))),
    **dict.fromkeys(("PythonScan", "Resolver", "Scan"), NodeKind(opaque=True)),
    "DataFrameScan": NodeKind(frames=("df",)),
    "Gather": NodeKind(inputs=("input", "idxs")),
    "Pivot": NodeKind(inputs=("input",), frames=("on_columns",)),
    "SQL": NodeKind(inputs=("relations",)),
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
