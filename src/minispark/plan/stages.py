"""The physical plan: what the planner hands to every engine.

A `StageGraph` is a tuple of stages in topological order. A stage is one or more *branches*
(more than one under a union) that deliver the same columns; the partitions of a stage are
those of its branches, one branch after another. Stage x partition = task.

Fragments are opaque bytes to everybody but the planner and the executor.

Example (word count)::

    stage 0 quotes   2 tasks                     -> single
    stage 1 map      6 tasks  reads 0 (all)      -> hash(token) x 2
    stage 2 reduce   2 tasks  reads 1 (partition) -> result
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Annotated, Any

from minispark.bounds import Count, Data, Entries, Id, Items, Length, Options, Path, Signed, Text

Columns = tuple[tuple[Text, Text], ...]
"""Name and dtype of each column, in order."""

OptimizerFlags = tuple[tuple[Id, bool], ...]
"""Flags of Polars' optimizer that differ from its defaults, by name."""


class Label(StrEnum):
    """What a second run of a stage's tasks would give."""

    DETERMINATE = "determinate"
    """Same rows, same order."""
    UNORDERED = "unordered"
    """Same rows, any order."""
    INDETERMINATE = "indeterminate"
    """Perhaps other rows: a lost block rolls back all that read it."""


class ReadMode(StrEnum):
    """Which blocks of its input stage a task reads, always in partition order."""

    ALL = "all"
    """Partition 0 of every task's block: gather and broadcast."""
    PARTITION = "partition"
    """Its own partition of every task's block, or a range of them: hash exchange."""
    FORWARD = "forward"
    """Partition 0 of the block of the task with the same number: no rows move."""


class OutputKind(StrEnum):
    """How a task writes its rows."""

    HASH = "hash"
    SINGLE = "single"
    SINK = "sink"


class ScanFormat(StrEnum):
    """How the bytes of a split become rows."""

    CSV = "csv"
    JSONL = "jsonl"
    TEXT = "text"
    PARQUET = "parquet"
    QUOTES = "quotes"
    """Not rows: the number of quote characters in each split, for those who read CSV after it."""

    @property
    def auxiliary(self) -> bool:
        """Whether its rows are side input of other stages, and no rows of the query."""
        return self is ScanFormat.QUOTES

    @property
    def what(self) -> str:
        """What is read, in words."""
        return "quote characters of CSV" if self is ScanFormat.QUOTES else self.value


@dataclass(frozen=True, slots=True)
class Split:
    """A part of one input file, pinned to the file as it was at planning.

    ``start`` and ``end`` are bytes (CSV, JSONL, text; a record belongs to the split in which it
    begins) or rows (Parquet). ``path`` is absolute, or relative to the data root. A compressed
    file is one split with ``end`` = its size on disk.
    """

    path: Path
    start: Count
    end: Count
    size: Count
    mtime_ns: Signed


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """How to read splits: the format and those reader options that differ from the default."""

    format: ScanFormat
    options: Annotated[Mapping[Id, Options], Entries] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanInput:
    """A leaf that reads files. ``tasks[p]`` are the splits of partition p of the branch.

    ``quotes`` names the leaf (a `StageInput` of the same branch) whose rows tell how many quote
    characters each split holds; None where nothing can be quoted or no file is cut.
    """

    leaf: Id
    spec: ScanSpec
    tasks: Annotated[tuple[Annotated[tuple[Split, ...], Items], ...], Items]
    quotes: Id | None = None


def side_inputs(scans: Iterable[ScanInput]) -> tuple[Id, ...]:
    """Return the leaves that only say how to read other leaves: no fragment reads their rows."""
    return tuple(dict.fromkeys(scan.quotes for scan in scans if scan.quotes is not None))


@dataclass(frozen=True, slots=True)
class StageInput:
    """A leaf that reads the blocks of an earlier stage."""

    leaf: Id
    stage: Count
    mode: ReadMode
    take: Signed | None = None
    """How many rows the task needs: the first ones, the last ones where negative; None is all."""
    ranges: Annotated[tuple[tuple[Count, Count], ...], Items] = ()
    """With `ReadMode.PARTITION`, the first and the last partition that each task reads; without
    them a task reads the one of its own number."""

    def parts(self, number: int) -> range:
        """Return the partitions of a block that a task reads, by its number in the branch."""
        if self.mode is not ReadMode.PARTITION:
            return range(1)
        first, last = self.ranges[number] if self.ranges else (number, number)
        return range(first, last + 1)

    def fits(self, readers: int, partitions: float = inf) -> bool:
        """Whether each of the tasks reads partitions that there are, and no two the same one."""
        if self.mode is not ReadMode.PARTITION:
            return not self.ranges
        if not self.ranges:
            return readers <= partitions
        before = -1
        for first, last in self.ranges:
            if not before < first <= last < partitions:
                return False
            before = last
        return len(self.ranges) == readers

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: Callable[[object], dict[str, Any]]
    ) -> dict[str, Any]:
        # A journal of the first release says "read" for the mode.
        rename = {"type": "no-info", "function": _with_mode}
        return {"type": "function-before", "function": rename, "schema": handler(source)}


def _with_mode(given: Any) -> Any:
    if isinstance(given, dict) and "read" in given and "mode" not in given:
        return {"mode": given["read"], **given}
    return given


@dataclass(frozen=True, slots=True)
class Branch:
    """A fragment, its leaves, and how many partitions of it there are."""

    fragment: Data
    partitions: Count
    scans: Annotated[tuple[ScanInput, ...], Items] = ()
    inputs: Annotated[tuple[StageInput, ...], Items] = ()

    @property
    def side_inputs(self) -> tuple[Id, ...]:
        """The inputs whose rows are no rows of the query."""
        return side_inputs(self.scans)


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """Where a stage's rows are written as files: ``part-00000.csv`` ... by partition."""

    format: Id
    path: Path
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """What a task does with its rows.

    ``keys`` are serialised expressions over the stage's columns; ``partitions`` how many parts
    the block has (1 unless HASH). ``key_texts`` are the same for people: who shows a plan need not
    open it. ``columns`` are those that the rows must have; empty where only Polars knows.
    """

    kind: OutputKind
    partitions: Count = 1
    keys: Annotated[tuple[Data, ...], Items] = ()
    sink: SinkSpec | None = None
    key_texts: Annotated[tuple[Text, ...], Items] = ()
    columns: Annotated[Columns, Items] = ()
    take: Signed | None = None
    """How many rows of a task its reader may need, as in `StageInput`. An error over other rows
    fails nothing: the task gives the rows that it can, and the error in the place of the rest."""


@dataclass(frozen=True, slots=True)
class CachedNode:
    """The DAG node whose rows a stage delivers, and under which key they are kept.

    Stages with one key give the same rows, in any job; ``key`` is None where nobody could tell.
    """

    node: Text
    key: Id | None


@dataclass(frozen=True, slots=True)
class Stage:
    """What lies between two exchanges. ``nodes`` are the DAG nodes that run in it."""

    id: Count
    name: Text
    branches: Annotated[tuple[Branch, ...], Items]
    output: Output
    label: Label
    nodes: Annotated[tuple[Text, ...], Items] = ()
    pushed: Annotated[tuple[Text, ...], Items] = ()
    """What the stage above asked for (projection, filters, limit), for `explain`."""
    why: Text = ""
    """Why the stage runs in one task, where it does."""
    cached: CachedNode | None = None
    optimizations: Annotated[OptimizerFlags, Items] = ()

    @property
    def partitions(self) -> int:
        """Number of tasks."""
        return sum(branch.partitions for branch in self.branches)

    def branch_of(self, partition: int) -> tuple[Branch, int]:
        """Return the branch of a task and the task's number within it."""
        for branch in self.branches:
            if partition < branch.partitions:
                return branch, partition
            partition -= branch.partitions
        msg = f"stage {self.id} has no partition {partition}"
        raise IndexError(msg)


@dataclass(frozen=True, slots=True)
class ResultSpec:
    """A stage whose rows the user asked for, under the name of its node."""

    node: Text
    stage: Count
    columns: Annotated[tuple[Text, ...], Items]


@dataclass(frozen=True, slots=True)
class StageGraph:
    """Everything an engine needs to run a job.

    ``flow`` maps each counted DAG node to the nodes it reads, in DAG order, so that views can
    tell records in from records out.
    """

    stages: Annotated[tuple[Stage, ...], Items]
    results: Annotated[tuple[ResultSpec, ...], Items]
    flow: Annotated[Mapping[Text, Annotated[tuple[Text, ...], Items]], Entries] = field(
        default_factory=dict
    )
    input_bytes: Count = 0
    polars: Id = ""
    """Version and schema hash of the binary plan, compared where engines meet."""
    logical: Annotated[str, Length(1 << 26)] = ""
    """The optimized logical plan as text, for `explain`."""
