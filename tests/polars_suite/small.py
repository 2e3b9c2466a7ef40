"""Forces every query to be cut: four rows a partition, and as many exchanges as the rules have.

Only for tests: it replaces parts of the planner and of the engine in this process.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise

import minispark as ms
from minispark.engines import in_process, polars_engine
from minispark.engines.in_process import InProcessRunner
from minispark.plan import build
from minispark.plan.polars_plan import Node, frame_of
from minispark.plan.relation import Cutter, Part, Relation
from minispark.settings import PlanSettings

PARTITION_ROWS = 4
PARALLELISM = 3
_MAX_PARTS = 16
_MAX_COUNTED_BYTES = 1 << 20
"""A frame with more bytes is cut twice: each part holds the whole frame."""
_UNKNOWN_ROWS = 3 * PARTITION_ROWS
_SOURCES = ("DataFrameScan", "Scan")


class SmallPartitions:
    """The engine of the mode, its runner, and what it replaces in the planner."""

    def __init__(self) -> None:
        self._runner = InProcessRunner()
        self._engines = {broadcast: _engine(broadcast=broadcast) for broadcast in (False, True)}
        self.broadcast = False
        """Whether joins send their small side to every task, or exchange both sides."""

    def install(self) -> None:
        """Cut what queries read, and run their tasks in this process."""
        for kind in _SOURCES:
            build._RULES[kind] = partial(_cut_rows, build._RULES[kind])
        polars_engine._embedded = lambda _pid: self._runner  # type: ignore[assignment]

    def engine(self) -> ms.Engine:
        """Return the engine for the next query."""
        return self._engines[self.broadcast]

    def busy(self) -> bool:
        """Whether a task runs: a query inside it would wait for the end of the task."""
        return in_process._task_lock.locked()

    def restart(self) -> None:
        """Leave a task that does not end behind."""
        in_process._task_lock = threading.Lock()
        self._runner = InProcessRunner()


def _engine(*, broadcast: bool) -> ms.Engine:
    engine = ms.Engine(processes=True, parallelism=PARALLELISM, progress=False)
    size = PlanSettings().broadcast_bytes if broadcast else 0
    engine._settings = replace(engine._settings, single_task_bytes=0, broadcast_bytes=size)
    return engine


def _cut_rows(
    rule: build.Rule, cutter: Cutter, node: Node, relations: Mapping[Node, Relation]
) -> Relation:
    """Return the rows of a source in several parts, if its rule gives them in one partition."""
    frame = node.kind == "DataFrameScan"
    relation = Relation((Part(node, 1),), 0) if frame else rule(cutter, node, relations)
    # Polars 2.1 counts blank lines of JSON lines as rows when it slices them.
    if not relation.single or "NDJson" in node.body.get("scan_type", ()):
        return relation
    part, schema = relation.only, cutter.schema(relation)
    edges = _edges(_rows(node))

    def between(begin: int, end: int) -> Part:
        length = None if end == edges[-1] else end - begin
        return part.then(schema, lambda rows: rows.slice(begin, length))

    return replace(relation, parts=tuple(between(*pair) for pair in pairwise(edges)))


def _edges(rows: int) -> list[int]:
    step = max(PARTITION_ROWS, -(-rows // _MAX_PARTS))
    return [*range(0, max(rows, 1), step), max(rows, step)]


def _rows(node: Node) -> int:
    """Return the number of rows of a frame in the plan; a guess for others."""
    if node.kind != "DataFrameScan":
        return _UNKNOWN_ROWS
    if len(node.body["df"].value) > _MAX_COUNTED_BYTES:
        return _UNKNOWN_ROWS
    return frame_of(node).collect(engine="in-memory").height
