"""What a task gets and what it reports: plain data, the same on every engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from minispark.blocks.meta import BlockMeta, BlockSource
from minispark.bounds import (
    Checksum,
    Count,
    Data,
    Entries,
    Id,
    Items,
    Path,
    Range,
    Seconds,
    Signed,
    Text,
)
from minispark.errors import Failure, JobFailedError
from minispark.ids import TaskKey
from minispark.plan.stages import OptimizerFlags, Output, ScanInput, ScanSpec, Split


@dataclass(frozen=True, slots=True)
class TaskInput:
    """The blocks of one leaf, in partition order."""

    leaf: Id
    stage: Count
    generation: Count
    blocks: Annotated[tuple[BlockSource, ...], Items]
    take: Signed | None = None
    """How many rows the task needs: the first ones, the last ones if negative; None is all."""

    def needed_blocks(self) -> tuple[BlockSource, ...]:
        """Return the blocks that hold the rows which the task needs.

        Raises
        ------
        JobFailedError
            The task that made a block failed over rows that are needed.
        """
        if self.take is None:
            return self.blocks
        order = -1 if self.take < 0 else 1
        blocks: list[BlockSource] = []
        rows = 0
        for block in self.blocks[::order]:
            if rows >= abs(self.take):
                break
            blocks.append(block)
            rows += block.meta.rows
            if block.meta.error is not None and rows < abs(self.take):
                raise JobFailedError.from_info(block.meta.error)
        return tuple(blocks[::order])


@dataclass(frozen=True, slots=True)
class ScanTask:
    """The splits of one leaf for this task."""

    leaf: Id
    spec: ScanSpec
    splits: Annotated[tuple[Split, ...], Items]
    quotes: Id | None = None


def scan_task(scan: ScanInput, partition: int) -> ScanTask:
    """Return the splits that the task of one partition of a branch reads."""
    return ScanTask(scan.leaf, scan.spec, scan.tasks[partition], scan.quotes)


@dataclass(frozen=True, slots=True)
class FragmentKey:
    """The name of a fragment: all tasks of a branch of a stage run the same one."""

    job: Id
    stage: Count
    branch: Count


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """All that a task needs: a fragment, named inputs, and where its rows go."""

    key: TaskKey
    fragment: Data
    """Empty on the way to a worker, which fills it in from `fragment_key`."""
    scans: Annotated[tuple[ScanTask, ...], Items]
    inputs: Annotated[tuple[TaskInput, ...], Items]
    output: Output
    block_directory: Path = ""
    """Where the block is written; the worker fills it in."""
    data_root: Path | None = None
    """What relative paths start from; the worker fills it in."""
    timeout_s: Seconds | None = None
    in_memory: bool = False
    """Use Polars' in-memory engine, as the attempt after a panic of the streaming engine does."""
    keep: TaskKey | None = None
    """The name under which the worker keeps the block for later jobs; None if it does not."""
    optimizations: Annotated[OptimizerFlags, Items] = ()
    branch: Count = 0
    """Index of the branch in its stage."""

    @property
    def fragment_key(self) -> FragmentKey:
        """The name of the fragment."""
        return FragmentKey(self.key.job, self.key.stage, self.branch)


@dataclass(frozen=True, slots=True)
class InputGeneration:
    """The generation of an input stage that an attempt read."""

    stage: Count
    generation: Count


@dataclass(frozen=True, slots=True)
class SinkFile:
    """A file that an attempt wrote under its staging name, and the name it gets at commit."""

    staged: Path
    final: Path
    rows: Count
    bytes: Count
    rows_checksum: Checksum | None = None
    """See `minispark.blocks.format.rows_checksum`."""


@dataclass(frozen=True, slots=True)
class TaskUsage:
    """What an attempt used of its process. A process runs one attempt at a time."""

    cpu_s: Seconds = 0.0
    """CPU time of all threads."""
    peak_memory_bytes: Count | None = None
    """Highest resident memory, with mapped blocks; None where the system does not tell."""
    bytes_spilled: Count = 0
    """Bytes written while the query ran: what Polars moved to disk for lack of memory."""


@dataclass(frozen=True, slots=True)
class TaskReport:
    """The result of a task that succeeded. Times in seconds, sizes in bytes."""

    key: TaskKey
    block: BlockMeta
    inputs: Annotated[tuple[InputGeneration, ...], Items] = ()
    nodes: Annotated[Mapping[Text, Count], Entries] = field(default_factory=dict)
    """Rows out of each counted DAG node that ran in this task."""
    rows_in: Count = 0
    bytes_read: Count = 0
    """Bytes of input files."""
    bytes_fetched: Count = 0
    duration_s: Seconds = 0.0
    """Time that it ran, without the time in a queue."""
    sink: SinkFile | None = None
    block_bytes_read: Count = 0
    """Bytes of blocks, mapped or fetched."""
    queued_s: Seconds | None = None
    """Time that it waited on its worker; None in reports of earlier releases."""
    usage: TaskUsage | None = None
    """None where it is not measured: in the process of the caller, in earlier releases."""

    @property
    def bytes_written(self) -> int:
        """Bytes of its block, or of the file that it wrote."""
        return self.block.bytes if self.sink is None else self.sink.bytes


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """What a running attempt has read so far. It is shown to people and decides nothing."""

    key: TaskKey
    ran_s: Seconds = 0.0
    bytes_read: Count = 0
    """Bytes of input files and blocks."""
    nodes: Annotated[Mapping[Text, Count], Entries] = field(default_factory=dict)
    """Rows out of each counted DAG node so far."""
    expected_rows: Count = 0
    """Records in the input files, estimated from the first ones; 0 if that is not known."""
    share: Annotated[float, Range(0, 1)] | None = None
    """The part of the input files that Polars has read; None if that says nothing."""


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """The result of a task that failed."""

    key: TaskKey
    failure: Failure
    inputs: Annotated[tuple[InputGeneration, ...], Items] = ()
    duration_s: Seconds = 0.0
    """Time that it ran, without the time in a queue."""
    log: Annotated[tuple[Text, ...], Items] = ()
    """The last lines that the task printed."""
    queued_s: Seconds | None = None
    usage: TaskUsage | None = None
