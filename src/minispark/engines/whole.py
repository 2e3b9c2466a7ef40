"""The rule for queries that run whole in this process and start no other.

One process with all threads is as fast as Polars. Others cost more, and are worth it if the input
may not fit in memory, or if Python functions run one at a time in this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl
from polars.exceptions import PanicException

from minispark.blocks.memory import read_memory
from minispark.errors import UnsupportedError
from minispark.formatting import bytes_words
from minispark.plan.markers import stored_rows
from minispark.plan.polars_plan import Node, PlanUnreadableError, parse_bytes, post_order
from minispark.plan.rules.scan import scan_bytes
from minispark.plan.serialization import serialized
from minispark.plan.stages import StageGraph
from minispark.settings import MIB

_LEAST_BYTES = 256 * MIB
"""Up to this input size the memory of no machine matters."""
_SHARE = 8
"""The part of the free memory that files may have: in memory they are several times larger."""
_PYTHON_MARKS = (b"OpaquePython", b"AnonymousFunction")
"""Names of Python functions in a binary plan. A column of that name only makes a query slower."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a query runs whole in this process, and why."""

    whole: bool
    why: str

    def __str__(self) -> str:
        where = "whole in this process" if self.whole else "in several processes of this machine"
        return f"It runs {where}: {self.why}."


def whole_limit() -> int:
    """Return the size of the files from which on a query runs in several processes, in bytes."""
    memory = read_memory()
    return _LEAST_BYTES if memory is None else max(_LEAST_BYTES, memory.free_bytes // _SHARE)


def fits_whole(graph: StageGraph, *, limit_bytes: int, cancellable: bool = False) -> bool:
    """Whether a plan reads little and no Python function of a user would run in several tasks.

    A plan with a flow comes from a JSON job; its Python functions are ours and count rows. If the
    query must be ``cancellable``, it may have none: only the end of its process ends a function.
    """
    if graph.input_bytes >= limit_bytes:
        return False
    single = all(stage.partitions == 1 for stage in graph.stages)
    if graph.flow or (single and not cancellable):
        return True
    return not _has_python(branch.fragment for stage in graph.stages for branch in stage.branches)


def choose(frames: Sequence[pl.LazyFrame], *, limit_bytes: int, python_bytes: int = 0) -> Choice:
    """Choose where queries run on the embedded engine; nothing is planned.

    With Python functions a query runs here if it reads less than ``python_bytes``: then it would
    be one task, which has nothing to gain from another process.
    """
    if limit_bytes <= 0:
        return Choice(whole=False, why="processes are asked for")
    try:
        plans = [serialized(frame) for frame in frames]
        nodes = post_order(*map(parse_bytes, plans))
    except (PlanUnreadableError, UnsupportedError) as error:
        return Choice(whole=False, why=str(error))
    size = sum(map(_read_bytes, nodes))
    if _has_python(plans) and size + sum(map(len, plans)) >= min(python_bytes, limit_bytes):
        return Choice(whole=False, why="it has a Python function")
    whole = size < limit_bytes
    than = "fewer" if whole else "not fewer"
    why = f"it reads {bytes_words(size)}, {than} than {bytes_words(limit_bytes)}"
    return Choice(whole, why)


def _read_bytes(node: Node) -> int:
    stored = stored_rows(node)
    if stored is not None:
        return stored.bytes
    return scan_bytes(node) if node.kind == "Scan" else 0


def _has_python(plans: Iterable[bytes]) -> bool:
    return any(mark in plan for plan in plans for mark in _PYTHON_MARKS)


def collect_whole(
    frame: pl.LazyFrame, *, optimizations: pl.QueryOptFlags | None = None
) -> pl.DataFrame:
    """Collect with Polars' streaming engine; if it panics, with the in-memory engine.

    Both are named explicitly, since Polars' default engine may be ours, which calls this function.
    """
    flags = optimizations or pl.QueryOptFlags()
    try:
        return frame.collect(engine="streaming", optimizations=flags)
    except PanicException:
        return frame.collect(engine="in-memory", optimizations=flags)
