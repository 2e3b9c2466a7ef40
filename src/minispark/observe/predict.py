"""How long a job would take on another number of workers.

The very scheduler places the tasks that were measured, each as long as it took, on workers that do
nothing else. Covers: what a journal says of a job (`measured`), the run (`predict`). Does not
cover: slots that share a core, a network that is full, tasks that would be cut otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from statistics import median
from typing import Final

from minispark.blocks.meta import Receipt
from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.journal.rows import Row, Submission, SuccessRow
from minispark.scheduler.commands import (
    CancelTask,
    Command,
    CommitJob,
    FinishJob,
    JobStatus,
    LaunchTask,
)
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import (
    Event,
    JobCommitted,
    JobSubmitted,
    TaskSucceeded,
    TimerFired,
    WorkerHeartbeat,
    WorkerRegistered,
)
from minispark.scheduler.spec import JobSpec
from minispark.settings import SchedulerSettings

_HEARTBEAT_S: Final = 2.0
_MOST_STEPS: Final = 10_000_000

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a job's journal says of it. Times in seconds."""

    spec: JobSpec
    seconds: Mapping[Place, float]
    """What the accepted attempt of each task took in its executor."""
    receipts: Mapping[Place, Receipt]
    round_s: float
    """From a launch to the report of an attempt that had a free slot, less its own time."""
    after_s: float
    """From the last report to the end: a commit, mostly."""
    total_s: float
    """From the job's arrival at the scheduler to its end."""


@dataclass(frozen=True, slots=True)
class StagePrediction:
    """A stage, from its first launch to its last report."""

    stage: int
    tasks: int
    begins_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """How long a job would take, from its arrival to its end."""

    workers: int
    slots: int
    total_s: float
    stages: tuple[StagePrediction, ...]


def measured(rows: Iterable[Row], job: str) -> Measured:
    """Read what a job took from its journal.

    Raises
    ------
    UsageError
        The job has not succeeded, or its journal is not whole.
    """
    spec: JobSpec | None = None
    begun_s = ended_s = reported_s = 0.0
    launches: dict[TaskKey, float] = {}
    seconds: dict[Place, float] = {}
    receipts: dict[Place, Receipt] = {}
    rounds: list[float] = []
    for row in rows:
        match row.happening:
            case Submission(job=found) if found.job == job:
                spec, begun_s = found, row.at
            case SuccessRow(report=report) if row.accepted and report.key.job == job:
                key, took_s = report.key, report.duration_s
                seconds[key.stage, key.partition] = took_s
                receipts[key.stage, key.partition] = report.block.receipt
                rounds.append(max(0.0, row.at - launches.get(key, row.at) - took_s))
                reported_s = row.at
            case _:
                pass
        for decision in row.decisions:
            if isinstance(decision, LaunchTask):
                launches.setdefault(decision.key, row.at)
            elif isinstance(decision, FinishJob) and decision.job == job:
                ended_s = row.at if decision.status is JobStatus.SUCCEEDED else 0.0
    if spec is None or not ended_s:
        msg = f"{job} has not succeeded (yet), or the journal has not all of it"
        raise UsageError(msg, hint="Only a job that has run to its end can be measured.")
    return Measured(
        spec,
        seconds,
        receipts,
        # Those that waited behind others are slower, for a reason that is simulated.
        round_s=_low(rounds),
        after_s=max(0.0, ended_s - reported_s),
        total_s=ended_s - begun_s,
    )


def _low(values: list[float]) -> float:
    """Return the lower quarter."""
    ordered = sorted(values)
    return ordered[len(ordered) // 4] if ordered else 0.0


def predict(job: Measured, *, workers: int, slots: int) -> Prediction:
    """Let the scheduler run the job on so many workers."""
    return _Run(job, workers, slots).to_its_end()


@dataclass(slots=True)
class _Worker:
    name: str
    slots: int
    queued: deque[LaunchTask] = field(default_factory=deque)
    running: dict[TaskKey, None] = field(default_factory=dict)


class _Run:
    """One job on workers that only wait."""

    def __init__(self, job: Measured, workers: int, slots: int) -> None:
        self._job = job
        self._scheduler = Scheduler(SchedulerSettings())
        self._workers = {f"w{n}": _Worker(f"w{n}", slots) for n in range(workers)}
        self._slots = slots
        self._now = 0.0
        self._due: list[tuple[float, int, Event | LaunchTask | TaskKey, str]] = []
        self._count = 0
        self._usual_s = median(job.seconds.values()) if job.seconds else 0.0
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._total_s: float | None = None

    def to_its_end(self) -> Prediction:
        for name, worker in self._workers.items():
            self._tell(WorkerRegistered(name, 1, worker.slots))
            self._after(_HEARTBEAT_S, WorkerHeartbeat(name, 1, ()), name)
        self._tell(JobSubmitted(self._job.spec))
        for _ in range(_MOST_STEPS):
            if self._total_s is not None:
                break
            self._go_on()
        spec = self._job.spec
        return Prediction(
            len(self._workers),
            self._slots,
            self._total_s or self._now,
            tuple(
                StagePrediction(
                    stage.id,
                    stage.partitions,
                    self._first[stage.id],
                    self._last.get(stage.id, self._first[stage.id]) - self._first[stage.id],
                )
                for stage in spec.stages
                if stage.id in self._first
            ),
        )

    def _after(self, seconds: float, what: Event | LaunchTask | TaskKey, worker: str) -> None:
        self._count += 1
        heappush(self._due, (self._now + seconds, self._count, what, worker))

    def _go_on(self) -> None:
        if self._scheduler.wake_s <= self._due[0][0]:
            self._now = max(self._now, self._scheduler.wake_s)
            self._tell(TimerFired())
            return
        self._now, _, what, name = heappop(self._due)
        worker = self._workers.get(name)
        match what:
            case LaunchTask():
                self._workers[name].queued.append(what)
                self._fill(self._workers[name])
            case TaskKey():
                self._end(self._workers[name], what)
            case WorkerHeartbeat() if worker is not None:
                held = (*worker.running, *(launch.key for launch in worker.queued))
                self._tell(WorkerHeartbeat(name, 1, held))
                self._after(_HEARTBEAT_S, what, name)
            case _:
                self._tell(what)

    def _tell(self, event: Event) -> None:
        if isinstance(event, TaskSucceeded):
            self._last[event.key.stage] = self._now
        for command in self._scheduler.step(event, self._now):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case LaunchTask():
                self._first.setdefault(command.key.stage, self._now)
                self._after(self._job.round_s / 2, command, command.worker)
            case CancelTask():
                worker = self._workers[command.worker]
                worker.running.pop(command.key, None)
                kept = [launch for launch in worker.queued if launch.key != command.key]
                worker.queued = deque(kept)
                self._fill(worker)
            case CommitJob():
                self._after(self._job.after_s, JobCommitted(command.job), "")
            case FinishJob():
                self._total_s = self._now
            case _:
                pass

    def _fill(self, worker: _Worker) -> None:
        while worker.queued and len(worker.running) < worker.slots:
            key = worker.queued.popleft().key
            worker.running[key] = None
            seconds = self._job.seconds.get((key.stage, key.partition), self._usual_s)
            self._after(seconds, key, worker.name)

    def _end(self, worker: _Worker, key: TaskKey) -> None:
        if key not in worker.running:
            return
        del worker.running[key]
        receipt = self._job.receipts.get((key.stage, key.partition), Receipt())
        stages = {stage.id: stage for stage in self._job.spec.stages}
        read = {e.stage: None for b in stages[key.stage].branches for e in b.inputs}
        took_s = self._job.seconds.get((key.stage, key.partition), self._usual_s)
        report = TaskSucceeded(key, worker.name, 1, receipt, tuple((s, 0) for s in read), took_s)
        self._after(self._job.round_s / 2, report, "")
        self._fill(worker)
