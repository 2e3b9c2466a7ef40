"""A simulated cluster without faults: the real scheduler, simulated time and workers.

Covers: slots, queues of workers, heartbeats, round trips. Does not cover: failures
(`minispark.testing.sim`), the times of tasks (`Pace`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from minispark.blocks.meta import Receipt
from minispark.ids import TaskKey
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

_HEARTBEAT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of everything, in seconds, and the receipts of tasks."""

    task_s: Callable[[TaskKey], float]
    receipt: Callable[[TaskKey], Receipt]
    round_s: float = 0.0
    """Time of a launch to a worker and of the report back."""
    commit_s: float = 0.0


@dataclass(slots=True)
class _Worker:
    slots: int
    queued: dict[TaskKey, None] = field(default_factory=dict)
    running: dict[TaskKey, float] = field(default_factory=dict)
    """Attempts with their times in seconds."""


class ModelCluster:
    """A scheduler and workers that run one job; ``step`` replaces ``Scheduler.step``."""

    def __init__(
        self,
        scheduler: Scheduler,
        workers: int,
        slots: int,
        pace: Pace,
        *,
        step: Callable[[Event, float], list[Command]] | None = None,
    ) -> None:
        self.now = 0.0
        self.first_launch_s: dict[int, float] = {}
        self.last_report_s: dict[int, float] = {}
        """By stage."""
        self.ended: JobStatus | None = None
        self._scheduler = scheduler
        self._step = step or scheduler.step
        self._pace = pace
        self._inputs: dict[int, tuple[tuple[int, int], ...]] = {}
        self._workers = {f"w{number}": _Worker(slots) for number in range(workers)}
        self._due: list[tuple[float, int, Event | LaunchTask | TaskKey, str]] = []
        self._count = 0
        for name in self._workers:
            self.take(WorkerRegistered(name, 1, slots))
            self._after(_HEARTBEAT_S, WorkerHeartbeat(name, 1, ()), name)

    def submit(self, spec: JobSpec) -> None:
        """Submit the job."""
        for stage in spec.stages:
            read = {edge.stage: None for branch in stage.branches for edge in branch.inputs}
            self._inputs[stage.id] = tuple((number, 0) for number in read)
        self.take(JobSubmitted(spec))

    def advance(self) -> None:
        """Advance to the next event."""
        if self._scheduler.wake_s <= self._due[0][0]:
            self.now = max(self.now, self._scheduler.wake_s)
            self.take(TimerFired())
            return
        self.now, _, due, name = heappop(self._due)
        match due:
            case LaunchTask():
                self._workers[name].queued[due.key] = None
                self._start(name)
            case TaskKey():
                self._finish(name, due)
            case WorkerHeartbeat():
                self.take(self.heartbeat(name))
                self._after(_HEARTBEAT_S, due, name)
            case _:
                self.take(due)

    def heartbeat(self, name: str) -> WorkerHeartbeat:
        """Return the heartbeat of a worker at this time."""
        worker = self._workers[name]
        return WorkerHeartbeat(name, 1, (*worker.running, *worker.queued))

    def take(self, event: Event) -> None:
        """Give an event to the scheduler, and carry out its commands."""
        if isinstance(event, TaskSucceeded):
            self.last_report_s[event.key.stage] = self.now
        for command in self._step(event, self.now):
            self._carry_out(command)

    def _after(self, seconds: float, due: Event | LaunchTask | TaskKey, worker: str) -> None:
        self._count += 1
        heappush(self._due, (self.now + seconds, self._count, due, worker))

    def _carry_out(self, command: Command) -> None:
        match command:
            case LaunchTask():
                self.first_launch_s.setdefault(command.key.stage, self.now)
                self._after(self._pace.round_s / 2, command, command.worker)
            case CancelTask():
                worker = self._workers[command.worker]
                worker.running.pop(command.key, None)
                worker.queued.pop(command.key, None)
                self._start(command.worker)
            case CommitJob():
                self._after(self._pace.commit_s, JobCommitted(command.job), "")
            case FinishJob():
                self.ended = command.status
            case _:
                pass

    def _start(self, name: str) -> None:
        worker = self._workers[name]
        while worker.queued and len(worker.running) < worker.slots:
            key = next(iter(worker.queued))
            del worker.queued[key]
            worker.running[key] = took_s = self._pace.task_s(key)
            self._after(took_s, key, name)

    def _finish(self, name: str, key: TaskKey) -> None:
        worker = self._workers[name]
        took_s = worker.running.pop(key, None)
        if took_s is None:
            return
        receipt, inputs = self._pace.receipt(key), self._inputs[key.stage]
        report = TaskSucceeded(key, name, 1, receipt, inputs, took_s)
        self._after(self._pace.round_s / 2, report, "")
        self._start(name)
