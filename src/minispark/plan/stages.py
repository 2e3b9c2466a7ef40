"""The physical plan: the result of the planner, which every engine runs.

A `StageGraph` is a tuple of stages in topological order. A stage is one or more *branches*
(more than one under a union) that deliver the same columns; the partitions of a stage are
the partitions of its branches, one branch after another. Stage x partition = task.

Only the planner and the executor open fragments; for all other modules they are bytes.

Example (word count)::

    stage 0 find quoted line breaks  2 tasks                      -> single
    stage 1 map                      6 tasks  reads 0 (all)       -> hash(token) x 2
    stage 2 reduce                   2 tasks  reads 1 (partition) -> result
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
    """Which rows a second run of a stage's tasks would give."""

    DETERMINATE = "determinate"
    """The same rows in the same order."""
    UNORDERED = "unordered"
    """The same rows in any order."""
    INDETERMINATE = "indeterminate"
    """Perhaps other rows: a lost block rolls back every stage that reads it."""


class ReadMode(StrEnum):
    """Which blocks of its input stage a task reads, always in partition order."""

    ALL = "all"
    """Partition 0 of every task's block: gather and broadcast."""
    PARTITION = "partition"
    """Its own partition of every task's block, or a range of partitions: a shuffle."""
    FORWARD = "forward"
    """Partition 0 of the block of the task with the same number: no rows move."""


class OutputKind(StrEnum):
    """How a task writes its rows."""

    HASH = "hash"
    RANGE = "range"
    SINGLE = "single"
    SINK = "sink"


class ScanFormat(StrEnum):
    """How the bytes of a split become rows."""

    CSV = "csv"
    JSONL = "jsonl"
    TEXT = "text"
    PARQUET = "parquet"
    IPC = "ipc"
    QUOTES = "quotes"
    """Not rows: the number of quote characters in each split, for the stage that reads the CSV."""

    @property
    def auxiliary(self) -> bool:
        """Whether its rows are side input of other stages, not rows of the query."""
        return self is ScanFormat.QUOTES

    @property
    def in_rows(self) -> bool:
        """Whether its splits are in rows, which the footer of a file counts."""
        return self in (ScanFormat.PARQUET, ScanFormat.IPC)

    @property
    def what(self) -> str:
        """What is read, in words."""
        return "quote characters of CSV" if self is ScanFormat.QUOTES else self.value


@dataclass(frozen=True, slots=True)
class Split:
    """A part of one input file, pinned to the file as it was at planning.

    ``start`` and ``end`` are bytes (CSV, JSONL, text; a record belongs to the split in which it
    begins) or rows (Parquet, IPC). ``path`` is absolute, or relative to the data root. A compressed
    file is one split with ``end`` = its size on disk.
    """

    path: Path
    start: Count
    end: Count
    size: Count
    mtime_ns: Signed
    columns: Annotated[Mapping[Text, Text | None], Entries] = field(default_factory=dict)
    """Columns whose value is that of the path, as `minispark.plan.file_columns` writes them."""
    rows_before: Count | None = None
    """Rows of all files before the first row of this file, if the scan numbers its rows."""


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """How to read splits: the format and the reader options that differ from the default."""

    format: ScanFormat
    options: Annotated[Mapping[Id, Options], Entries] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanInput:
    """A leaf that reads files. ``tasks[p]`` are the splits of partition p of the branch.

    ``quotes`` names the leaf (a `StageInput` of the same branch) whose rows say how many quote
    characters each split holds; None if no value can be quoted or no file is cut.
    """

    leaf: Id
    spec: ScanSpec
    tasks: Annotated[tuple[Annotated[tuple[Split, ...], Items], ...], Items]
    quotes: Id | None = None


def side_inputs(scans: Iterable[ScanInput]) -> tuple[Id, ...]:
    """Return the leaves that only say how to read other leaves; no fragment reads their rows."""
    return tuple(dict.fromkeys(scan.quotes for scan in scans if scan.quotes is not None))


@dataclass(frozen=True, slots=True)
class StageInput:
    """A leaf that reads the blocks of an earlier stage."""

    leaf: Id
    stage: Count
    mode: ReadMode
    take: Signed | None = None
    """How many rows the task needs: the first rows, the last rows if negative; None is all."""
    ranges: Annotated[tuple[tuple[Count, Count], ...], Items] = ()
    """With `ReadMode.PARTITION`, the first and the last partition that each task reads; without
    ranges a task reads the partition of its own number."""

    def parts(self, number: int) -> range:
        """Return the partitions of a block that a task reads, by its number in the branch."""
        if self.mode is not ReadMode.PARTITION:
            return range(1)
        first, last = self.ranges[number] if self.ranges else (number, number)
        return range(first, last + 1)

    def fits(self, readers: int, partitions: float = inf) -> bool:
        """Whether each task reads partitions that exist, and no two tasks read the same one."""
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
        # A journal of the first release has "read" as the name of the mode.
        rename = {"type": "no-info", "function": _with_mode}
        return {"type": "function-before", "function": rename, "schema": handler(source)}


def _with_mode(value: Any) -> Any:
    if isinstance(value, dict) and "read" in value and "mode" not in value:
        return {"mode": value["read"], **value}
    return value


@dataclass(frozen=True, slots=True)
class Branch:
    """A fragment, its leaves, and its number of partitions."""

    fragment: Data
    partitions: Count
    scans: Annotated[tuple[ScanInput, ...], Items] = ()
    inputs: Annotated[tuple[StageInput, ...], Items] = ()

    @property
    def side_inputs(self) -> tuple[Id, ...]:
        """The inputs whose rows are not rows of the query."""
        return side_inputs(self.scans)


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """The directory and format of a stage's files: ``part-00000.csv`` ... by partition."""

    format: Id
    path: Path
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """What a task does with its rows.

    ``keys`` are serialised expressions over the stage's columns; ``partitions`` is the number of
    partitions of the block (1 unless HASH or RANGE). ``key_texts`` are the keys as text, so that a
    page can show them without opening them. The rows must have ``columns``; none are given if only
    Polars knows them.
    """

    kind: OutputKind
    partitions: Count = 1
    keys: Annotated[tuple[Data, ...], Items] = ()
    sink: SinkSpec | None = None
    key_texts: Annotated[tuple[Text, ...], Items] = ()
    columns: Annotated[Columns, Items] = ()
    take: Signed | None = None
    """How many rows of a task its reader may need, as in `StageInput`. An error over other rows
    does not fail the task: it gives the rows that it can, and the error in place of the rest."""
    descending: Annotated[tuple[bool, ...], Items] = ()
    nulls_last: Annotated[tuple[bool, ...], Items] = ()
    """How RANGE orders each key."""
    side_input: Id | None = None
    """The leaf whose rows say where RANGE cuts."""
    stamped: bool = False
    """Whether the rows get a column with their place before the exchange."""


@dataclass(frozen=True, slots=True)
class CachedNode:
    """The DAG node whose rows a stage delivers, and the key under which they are kept.

    Stages with one key give the same rows, in any job; ``key`` is None if the rows may differ.
    """

    node: Text
    key: Id | None


@dataclass(frozen=True, slots=True)
class Stage:
    """The work between two exchanges. ``nodes`` are the DAG nodes that run in it."""

    id: Count
    name: Text
    branches: Annotated[tuple[Branch, ...], Items]
    output: Output
    label: Label
    nodes: Annotated[tuple[Text, ...], Items] = ()
    pushed: Annotated[tuple[Text, ...], Items] = ()
    """What the stage above needs (columns, filters), for `explain`."""
    why: Text = ""
    """Why all rows go to one task, if they do."""
    cached: CachedNode | None = None
    optimizations: Annotated[OptimizerFlags, Items] = ()

    @property
    def partitions(self) -> int:
        """Number of tasks."""
        return sum(branch.partitions for branch in self.branches)

    @property
    def readers(self) -> list[tuple[StageInput, int]]:
        """The inputs of the stage, each stage and mode once, with the number of tasks that read."""
        inputs: dict[tuple[int, ReadMode], tuple[StageInput, int]] = {}
        for branch in self.branches:
            for entry in branch.inputs:
                _, before = inputs.get((entry.stage, entry.mode), (entry, 0))
                inputs[entry.stage, entry.mode] = (entry, before + branch.partitions)
        return list(inputs.values())

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

    ``flow`` maps each counted DAG node to the nodes that it reads, in DAG order, so that views can
    show records in beside records out.
    """

    stages: Annotated[tuple[Stage, ...], Items]
    results: Annotated[tuple[ResultSpec, ...], Items]
    flow: Annotated[Mapping[Text, Annotated[tuple[Text, ...], Items]], Entries] = field(
        default_factory=dict
    )
    input_bytes: Count = 0
    polars: Id = ""
    """Version and schema hash of the binary plan; a worker with another one cannot run it."""
    logical: Annotated[str, Length(1 << 26)] = ""
    """The optimized logical plan as text, for `explain`."""
