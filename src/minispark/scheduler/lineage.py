"""Which tasks need which outputs: what must run, what can run, what a loss invalidates.

Covers: pure questions about one job. Does not cover: retries (`attempts`), where to run
(`placement`).

1. A task is needed if it delivers to the user, or if a needed task that has yet to run reads it.
   So only needed tasks run, and a lost block that no task will read is not made again.
2. A needed task is ready when every block that it reads exists: all of the input stage's, or for a
   forward edge the one with the same number.
3. A stage that may give other rows cannot repeat a task whose first output was read: the stage and
   all later stages that started are rolled back together, as a new generation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import assert_never

from minispark.blocks.meta import Receipt
from minispark.ids import TaskKey
from minispark.plan.stages import Label, ReadMode, StageInput
from minispark.scheduler.commands import BlockRef, LeafBlocks
from minispark.scheduler.spec import JobSpec, StageSpec
from minispark.scheduler.stage import StageReader, StageRun
from minispark.scheduler.state import JobRun, Phase
from minispark.scheduler.tasks import Done, Live, Task


def fault(spec: JobSpec) -> str | None:
    """Return what is wrong with the shape of a job, None if it can run."""
    earlier: dict[int, StageSpec] = {}
    for stage in spec.stages:
        if stage.id in earlier:
            return f"there are two stages {stage.id}"
        for branch in stage.branches:
            for edge in branch.inputs:
                source = earlier.get(edge.stage)
                if source is None:
                    return f"stage {stage.id} reads stage {edge.stage}, which is not before it"
                if source.sink:
                    # Its block may be made again with other rows when its files are published.
                    return f"stage {stage.id} reads stage {edge.stage}, which writes files"
                if not edge.fits(branch.partitions):
                    return f"stage {stage.id} reads ranges of stage {edge.stage} that do not fit"
                if edge.mode is ReadMode.FORWARD and source.partitions < branch.partitions:
                    return f"stage {stage.id} has more tasks than stage {edge.stage} before it"
        earlier[stage.id] = stage
    return _cached_output_fault(spec, earlier)


def _cached_output_fault(spec: JobSpec, stages: dict[int, StageSpec]) -> str | None:
    places = [(output.stage, output.partition) for output in spec.found]
    if len(set(places)) < len(places):
        return "it finds a block twice"
    for output in spec.found:
        source = stages.get(output.stage)
        if source is None or not 0 <= output.partition < source.partitions:
            return f"it finds a block of no task: stage {output.stage}, {output.partition}"
        if source.sink or source.label is Label.INDETERMINATE:
            return f"it finds a block of stage {output.stage}, which has to run"
    return None


def missing(job: JobRun) -> dict[int, list[int]]:
    """Return the partitions without a readable block that are needed, by stage."""
    whole: dict[int, None] = {}
    single: dict[int, dict[int, None]] = {}
    by_stage: dict[int, list[int]] = {}
    for stage in reversed(job.ordered):
        if stage.complete:
            continue
        if stage.final or stage.id in whole:
            needed = list(range(len(stage.tasks)))
        else:
            needed = sorted(single.get(stage.id, ()))
        absent = [p for p in needed if not isinstance(stage.tasks[p].state, Done)]
        if absent:
            by_stage[stage.id] = absent
        for partition in absent:
            if isinstance(stage.tasks[partition].state, Live):
                continue
            branch, number = stage.branch_of(partition)
            for edge in branch.inputs:
                if edge.mode is ReadMode.FORWARD:
                    single.setdefault(edge.stage, {})[number] = None
                else:
                    whole[edge.stage] = None
    return by_stage


def may_be_needed(job: JobRun, stage: StageRun) -> bool:
    """Whether a task of the stage may still be needed; False is certain."""
    return stage.final or any(not job.stages[reader.stage].complete for reader in stage.readers)


def read_on(job: JobRun, stage: StageRun) -> bool:
    """Whether a task or a user may still read the blocks of a stage."""
    if stage.spec.result:
        return True
    if job.phase is Phase.COMMITTING:
        return False
    return any(not job.stages[reader.stage].complete for reader in stage.readers)


def input_complete(job: JobRun, stage: StageRun, partition: int) -> bool:
    """Whether every block that a task reads exists."""
    branch, number = stage.branch_of(partition)
    for edge in branch.inputs:
        source = job.stages[edge.stage]
        if edge.mode is ReadMode.FORWARD:
            if not isinstance(source.tasks[number].state, Done):
                return False
        elif not source.complete:
            return False
    return True


def unlocked(job: JobRun, stage: StageRun, partition: int) -> Iterator[tuple[StageRun, int]]:
    """Yield the tasks that may have become ready because this one is done."""
    for reader in stage.readers:
        if reader.edge.mode is ReadMode.FORWARD:
            if partition < reader.partitions:
                yield job.stages[reader.stage], reader.offset + partition
        elif stage.complete:
            for number in range(reader.partitions):
                yield job.stages[reader.stage], reader.offset + number


def leaf_blocks(job: JobRun, stage: StageRun, partition: int) -> tuple[LeafBlocks, ...]:
    """Return the blocks of each leaf of a ready task, in partition order."""
    branch, number = stage.branch_of(partition)
    return tuple(
        LeafBlocks(
            edge.leaf,
            edge.stage,
            job.stages[edge.stage].generation,
            _blocks(job.stages[edge.stage], edge, number),
        )
        for edge in branch.inputs
    )


def _blocks(source: StageRun, edge: StageInput, number: int) -> tuple[BlockRef, ...]:
    match edge.mode:
        case ReadMode.ALL:
            return source.gather()
        case ReadMode.PARTITION:
            accepted = source.accepted()
            return tuple(BlockRef(d.key, d.worker, p) for p in edge.parts(number) for d in accepted)
        case ReadMode.FORWARD:
            done = source.tasks[number].state
            return (BlockRef(done.key, done.worker, 0),) if isinstance(done, Done) else ()
        case _:
            assert_never(edge.mode)


def unread(job: JobRun, stage: StageRun, partitions: list[int]) -> list[int]:
    """Return those of ``partitions`` whose output no task of this generation has read."""
    single: list[StageReader] = []
    for reader in stage.readers:
        if reader.edge.mode is ReadMode.FORWARD:
            single.append(reader)
        elif any(_has_version(task) for task in _tasks_of(job, reader)):
            return []
    return [p for p in partitions if not any(_forwarded(job, r, p) for r in single)]


def _tasks_of(job: JobRun, reader: StageReader) -> Iterator[Task]:
    tasks = job.stages[reader.stage].tasks
    return islice(tasks, reader.offset, reader.offset + reader.partitions)


def _forwarded(job: JobRun, reader: StageReader, partition: int) -> bool:
    tasks = job.stages[reader.stage].tasks
    return partition < reader.partitions and _has_version(tasks[reader.offset + partition])


def _has_version(task: Task) -> bool:
    return task.published_receipt is not None or isinstance(task.state, Live | Done)


def unrepeatable(job: JobRun, needed: dict[int, list[int]]) -> tuple[StageRun, TaskKey] | None:
    """Return the first stage that must be rolled back as a whole, and its lost block."""
    for stage in job.ordered:
        if stage.label is not Label.INDETERMINATE:
            continue
        again = [p for p in needed.get(stage.id, ()) if _has_published_before(stage.tasks[p])]
        if again and len(unread(job, stage, again)) < len(again):
            partition = again[0]
            attempt = stage.tasks[partition].attempts - 1
            return stage, TaskKey(job.name, stage.id, stage.generation, partition, attempt)
    return None


def _has_published_before(task: Task) -> bool:
    return task.published_receipt is not None and not isinstance(task.state, Live)


def started_below(job: JobRun, stage: StageRun) -> list[StageRun]:
    """Return a stage and all later stages that have read it, directly or through others."""
    started = {stage.id: stage}
    for later in job.ordered[stage.order :]:
        if later.id not in started:
            continue
        for reader in later.readers:
            below = job.stages[reader.stage]
            if any(_has_version(task) for task in below.tasks):
                started[below.id] = below
    return [candidate for candidate in job.ordered if candidate.id in started]


def same_rows(first: Receipt, second: Receipt) -> bool:
    """Whether two runs of a task gave the same rows, as far as their receipts can tell."""
    if first.rows != second.rows:
        return False
    pairs = zip(first.rows_checksums, second.rows_checksums, strict=False)
    return all(a == b for a, b in pairs if a is not None and b is not None)


def near(job: JobRun, stage: StageRun, partition: int) -> tuple[str, ...]:
    """Return the workers that have most of a task's input."""
    branch, number = stage.branch_of(partition)
    names: tuple[str, ...] = ()
    for edge in branch.inputs:
        source = job.stages[edge.stage]
        if edge.mode is not ReadMode.FORWARD:
            names += source.holders
        elif isinstance(done := source.tasks[number].state, Done):
            names += (done.worker,)
    return names


def rows_there(job: JobRun, stage: StageRun, partition: int, worker: str) -> int:
    """Return about how much of a task's input is on a worker: rows, plus one for each block."""
    branch, number = stage.branch_of(partition)
    rows = 0
    for edge in branch.inputs:
        source = job.stages[edge.stage]
        if edge.mode is ReadMode.FORWARD:
            done = source.tasks[number].state
            if isinstance(done, Done) and done.worker == worker:
                rows += 1 + sum(done.receipt.rows)
        else:
            rows += source.rows_on.get(worker, 0)
    return rows
