"""What is known of a job from its journal alone, line after line.

Sums are kept up as things happen: a line costs what it tells of, however large the job is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from minispark.errors import FetchFailed
from minispark.ids import TaskKey
from minispark.journal.decisions import Decision
from minispark.journal.rows import FailureRow, Registration, Row, Submission, SuccessRow
from minispark.scheduler.commands import (
    CancelTask,
    CommitJob,
    FinishJob,
    LaunchTask,
    ReleaseJob,
    WorkerDown,
)
from minispark.scheduler.events import BlocksMoved, HeartbeatDiff, JobSubmitted
from minispark.scheduler.spec import JobSpec, StageSpec

_Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class KnownStage:
    """How far a stage is."""

    stage: int
    tasks: int
    running: int
    done: int
    generation: int

    @property
    def waiting(self) -> int:
        """Tasks that neither run nor are done."""
        return self.tasks - self.running - self.done


@dataclass(frozen=True, slots=True)
class Known:
    """How a job stands: its tasks by state, and attempts of it on each worker."""

    waiting: int
    running: int
    done: int
    stages: tuple[KnownStage, ...]
    workers: Mapping[str, int]
    """Attempts of this job that each worker has which is not known to be gone."""


@dataclass(slots=True)
class TaskSoFar:
    """A task: who runs it, who has its block, and why its last attempt or block is gone."""

    running: dict[str, str] = field(default_factory=dict)
    """Attempts (block ids) and their workers."""
    done_on: str | None = None
    generation: int = 0
    launched: int = 0
    gone: str | None = None
    summed: str = "waiting"
    """What its stage counts it as."""


@dataclass(slots=True)
class StageSoFar:
    """A stage, as far as it was told of; ``spec`` is None where the line that brought it is not."""

    spec: StageSpec | None = None
    tasks: dict[int, TaskSoFar] = field(default_factory=dict)
    width: int = 0
    running: int = 0
    done: int = 0
    generation: int = 0

    @property
    def delivers_files(self) -> bool:
        """Whether what its tasks have done is in files only, and stays when a worker goes."""
        return self.spec is not None and self.spec.sink and not self.spec.result

    def sum_up(self, task: TaskSoFar) -> None:
        """Count a task that has changed."""
        state = "running" if task.running else "waiting" if task.done_on is None else "done"
        if state != task.summed:
            self.running += (state == "running") - (task.summed == "running")
            self.done += (state == "done") - (task.summed == "done")
            task.summed = state
        self.generation = max(self.generation, task.generation)


class Progress:
    """Follows one job; takes what happened, then what was decided."""

    def __init__(self, job: str | None) -> None:
        self.job = job
        self.ended = False
        self._stages: dict[int, StageSoFar] = {}
        self._loads: dict[str, int] = {}
        """Attempts on each worker that is not known to be gone."""
        self._touched: dict[str, dict[_Place, None]] = {}
        """Tasks that each worker ran or may have the block of."""

    def concerns(self, decision: Decision) -> bool:
        """Whether a decision is about this job, or about no job."""
        match decision:
            case LaunchTask(key=key) | CancelTask(key=key):
                return self.job in (None, key.job)
            case CommitJob(job=job) | FinishJob(job=job) | ReleaseJob(job=job):
                return self.job in (None, job)
            case _:
                return True

    def other(self, row: Row) -> str | None:
        """Return the job that a row is about, if it is not this one."""
        return None if self.job is None or row.job in ("", self.job) else row.job

    def spec(self, stage: int) -> StageSpec | None:
        """Return a stage as the job brought it."""
        found = self._stages.get(stage)
        return None if found is None else found.spec

    def task(self, key: TaskKey) -> TaskSoFar:
        """Return what is known of the task of an attempt."""
        return self._stage(key.stage).tasks.setdefault(key.partition, TaskSoFar())

    def known(self) -> Known:
        """Sum up."""
        stages = tuple(
            KnownStage(number, stage.width, stage.running, stage.done, stage.generation)
            for number, stage in self._stages.items()
            if stage.spec is not None
        )
        return Known(
            waiting=sum(stage.waiting for stage in stages),
            running=sum(stage.running for stage in stages),
            done=sum(stage.done for stage in stages),
            stages=stages,
            workers=dict(self._loads),
        )

    def take(self, row: Row) -> None:
        """Take in what happened."""
        happening = row.happening
        if self.other(row):
            return
        match happening:
            case Submission() | JobSubmitted():
                self._submitted(happening.job)
            case SuccessRow() if row.accepted:
                self._succeeded(happening)
            case FailureRow() if row.accepted:
                self._failed(happening)
            case Registration(worker=worker):
                # Whatever an earlier life of it had is gone.
                self._lose_worker(worker, "its worker registered anew")
                self._loads[worker] = 0
            case HeartbeatDiff():
                for key in self._mine(happening.lost):
                    self._end_attempt(key, "its worker did not know it")
            case BlocksMoved():
                for key in self._mine(happening.keys):
                    self._moved(key, happening.worker)
            case _:
                pass

    def carry_out(self, decision: Decision) -> None:
        """Take in what was decided."""
        match decision:
            case LaunchTask():
                self._launched(decision.key, decision.worker)
            case CancelTask():
                self._end_attempt(decision.key, "it was called back")
            case WorkerDown(worker=worker):
                self._loads.pop(worker, None)
                self._lose_worker(worker, f"its worker is gone ({decision.reason})")
            case FinishJob():
                self.ended = True
            case _:
                pass

    def _mine(self, keys: Iterable[TaskKey]) -> list[TaskKey]:
        return [key for key in keys if self.job in (None, key.job)]

    def _stage(self, number: int) -> StageSoFar:
        return self._stages.setdefault(number, StageSoFar())

    def _submitted(self, spec: JobSpec) -> None:
        self.job = self.job or spec.job
        for stage in spec.stages:
            tasks = {partition: TaskSoFar() for partition in range(stage.partitions)}
            self._stages.pop(stage.id, None)
            self._stages[stage.id] = StageSoFar(stage, tasks, stage.partitions)

    def _launched(self, key: TaskKey, worker: str) -> None:
        stage, task, block = self._stage(key.stage), self.task(key), key.block_id
        if key.generation > task.generation:
            self._begin_anew(stage, key.generation)
        self._drop(task, block)
        task.running[block] = worker
        task.done_on = None
        task.launched += 1
        stage.sum_up(task)
        self._loads[worker] = self._loads.get(worker, 0) + 1
        self._touch(worker, key)

    def _succeeded(self, row: SuccessRow) -> None:
        key = row.report.key
        task = self.task(key)
        self._drop(task, key.block_id)
        task.done_on = row.worker
        self._stage(key.stage).sum_up(task)
        self._touch(row.worker, key)

    def _failed(self, row: FailureRow) -> None:
        key, failure = row.report.key, row.report.failure
        self._end_attempt(key, f"attempt {key.attempt + 1} failed")
        if isinstance(failure, FetchFailed):
            self.task(key).gone = "it could not read its input"
            stage = self._stage(failure.stage)
            lost = stage.tasks.get(failure.partition)
            if lost is not None and lost.done_on:
                lost.done_on, lost.gone = None, "its block could not be read"
                stage.sum_up(lost)

    def _moved(self, key: TaskKey, worker: str) -> None:
        task = self._stage(key.stage).tasks.get(key.partition)
        if task is not None and task.done_on:
            task.done_on = worker
            self._touch(worker, key)

    def _end_attempt(self, key: TaskKey, why: str) -> None:
        task = self.task(key)
        self._drop(task, key.block_id)
        task.gone = why
        self._stage(key.stage).sum_up(task)

    def _lose_worker(self, worker: str, why: str) -> None:
        for number, partition in self._touched.pop(worker, ()):
            stage = self._stages[number]
            task = stage.tasks.get(partition)
            if task is None:  # The line that brought the job came after others of it.
                continue
            for block in [b for b, where in task.running.items() if where == worker]:
                self._drop(task, block)
                task.gone = why
            if task.done_on == worker and not stage.delivers_files:
                task.done_on, task.gone = None, f"its block is lost: {why}"
            stage.sum_up(task)

    def _begin_anew(self, stage: StageSoFar, generation: int) -> None:
        """Roll a stage back: it has begun as a later generation."""
        for task in stage.tasks.values():
            for block in list(task.running):
                self._drop(task, block)
            task.done_on, task.generation = None, generation
            task.gone = "its stage began anew"
            stage.sum_up(task)

    def _drop(self, task: TaskSoFar, block: str) -> None:
        worker = task.running.pop(block, None)
        if worker in self._loads:
            self._loads[worker] -= 1

    def _touch(self, worker: str, key: TaskKey) -> None:
        self._touched.setdefault(worker, {})[key.stage, key.partition] = None
