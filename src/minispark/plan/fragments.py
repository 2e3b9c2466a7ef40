"""Puts rows in the place of the leaves of a fragment before it runs.

Polars asks a leaf in a thread that it starts for that, and plans anew with what it was given: about
a millisecond and a half, more than all else that a task of a few rows takes. Where what a leaf
stands for can be written down in a few words, as the scan of a small file can, those are put into
the plan instead. It gives the same rows: the optimizer does across them what it asks of leaves.

Whatever is not as expected stays a leaf, and must be bound (`minispark.plan.leaves.bind`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache

import polars as pl

from minispark.plan.leaves import Binding, Leaf
from minispark.plan.polars_plan import (
    Node,
    PlanUnreadableError,
    frame_of,
    parse_bytes,
    plan_header,
    post_order,
    substitute,
)
from minispark.plan.pythons import leaf_of

__all__ = ["filled"]

_SHORT_BYTES = 16 * 1024
"""Plans up to this size are read and written here, in Python: 0.1 ms for 2 KiB."""
_FRAGMENTS_KEPT = 8
"""An executor runs tasks of the same few stages one after another."""


def filled(fragment: bytes, frames: Mapping[str, Binding]) -> pl.LazyFrame:
    """Return the plan of a fragment with ``frames[leaf](schema)`` for the leaves that it names.

    These frames have the columns of the schema, all of them and in that order.
    """
    short = len(fragment) <= _SHORT_BYTES
    # Polars itself refuses a plan that another version of it has written.
    if frames and short and fragment.startswith(plan_header()):
        try:
            root, leaves = _opened(fragment)
            found = {node: _short_plan(leaf, frames) for node, leaf in leaves.items()}
            new = {node: plan for node, plan in found.items() if plan is not None}
            if new:
                return frame_of(substitute(root, new))
        except (PlanUnreadableError, RecursionError):
            pass
    return pl.LazyFrame.deserialize(io.BytesIO(fragment))


@lru_cache(_FRAGMENTS_KEPT)
def _opened(fragment: bytes) -> tuple[Node, Mapping[Node, Leaf]]:
    root = parse_bytes(fragment)
    found = ((node, leaf_of(node)) for node in post_order(root))
    return root, {node: leaf for node, leaf in found if leaf is not None}


def _short_plan(leaf: Leaf, frames: Mapping[str, Binding]) -> Node | None:
    binding = frames.get(leaf.name)
    if binding is None:
        return None
    plan = binding(pl.Schema(leaf.columns)).serialize()
    return parse_bytes(plan) if len(plan) <= _SHORT_BYTES else None
