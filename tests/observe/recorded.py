"""Journals of jobs that never ran: a scheduler decides, and the rows are those of the master."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.ids import TaskKey
from minispark.journal.decisions import decisions_of, encode_command
from minispark.journal.rows import (
    EventRow,
    Evidence,
    Registration,
    Row,
    Submission,
    SuccessRow,
    job_of,
)
from minispark.scheduler import Scheduler
from minispark.scheduler.commands import CancelTask, LaunchTask
from minispark.scheduler.events import (
    Event,
    JobCancelRequested,
    TimerFired,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.spec import JobSpec
from minispark.settings import SchedulerSettings
from minispark.task.spec import InputGeneration, TaskReport

Written = tuple[str, BaseModel, list[list[object]]]
"""Kind, payload and decisions, as they are given to a journal."""


class Recorded:
    """A scheduler with some workers, and what a master would write of it."""

    def __init__(
        self, slots: Mapping[str, int], *, settings: SchedulerSettings | None = None
    ) -> None:
        self._scheduler = Scheduler(settings or SchedulerSettings(max_prefetch=0))
        self._leased: dict[TaskKey, str] = {}
        self._workers = dict.fromkeys(slots)
        self.rows: list[Written] = []
        self.lines: list[Row] = []
        for worker, count in slots.items():
            self._scheduler.step(WorkerRegistered(worker, 1, count), 0.0)

    def submit(self, spec: JobSpec, *, at: float = 0.0) -> None:
        """Let a job arrive."""
        said = Submission(job=spec)
        self._take(said.event(), said, at)

    def register(self, worker: str, *, slots: int, at: float = 1.0) -> None:
        """Let one more worker come."""
        said = Registration(
            worker=worker, epoch=1, slots=slots, url=f"http://{worker}:1", host="h", directory="/x"
        )
        self._workers[worker] = None
        self._take(said.event(), said, at)

    def succeed(
        self, stage: int, partition: int, *, job: str = "job-1", rows: int = 3, took_s: float = 0.5,
        at: float = 1.0,
    ) -> None:  # fmt: skip
        """Let the attempt of a task that was launched end well."""
        [key] = [
            k for k in self._leased if (k.job, k.stage, k.partition) == (job, stage, partition)
        ]
        self.end(key, rows=rows, took_s=took_s, at=at)

    def end(self, key: TaskKey, *, rows: int = 3, took_s: float = 0.5, at: float = 1.0) -> None:
        """Let an attempt end well."""
        spec = self._scheduler.state.jobs[key.job].stages[key.stage].spec
        inputs = {edge.stage for branch in spec.branches for edge in branch.inputs}
        report = TaskReport(
            key,
            BlockMeta((PartitionMeta(0, 100, rows, 7),)),
            inputs=tuple(InputGeneration(number, 0) for number in sorted(inputs)),
            nodes={},
            rows_in=rows,
            bytes_read=100,
            duration_s=took_s,
        )
        said = SuccessRow(worker=self._leased.pop(key), epoch=1, report=report)
        self._take(said.event(), said, at)

    def leased(self, worker: str | None = None) -> list[TaskKey]:
        """Return the attempts that a worker has, or all of them."""
        return [key for key, name in self._leased.items() if worker in (None, name)]

    def lose(self, worker: str, *, at: float = 20.0) -> None:
        """Let all workers but one say that they live."""
        del self._workers[worker]
        for other in self._workers:
            held = tuple(key for key, name in self._leased.items() if name == other)
            assert self._scheduler.decide(WorkerHeartbeat(other, 1, held), at) is None
        for key in self.leased(worker):
            del self._leased[key]
        self._take(TimerFired(), None, at)

    def leave(self, worker: str, *, at: float = 1.0) -> None:
        """Let a worker say goodbye."""
        del self._workers[worker]
        for key in self.leased(worker):
            del self._leased[key]
        self._take(WorkerLeft(worker, 1), None, at)

    def cancel(self, job: str, *, at: float = 1.0) -> None:
        """Request the cancellation of a job."""
        self._take(JobCancelRequested(job), None, at)

    def _take(self, event: Event, said: Evidence | None, at: float) -> None:
        fact = self._scheduler.decide(event, at)
        assert fact is not None
        commands = self._scheduler.apply(fact, at)
        for command in commands:
            match command:
                case LaunchTask():
                    self._leased[command.key] = command.worker
                case CancelTask():
                    self._leased.pop(command.key, None)
        payload = EventRow.model_construct(fact) if said is None else said
        self.rows.append((fact.kind, payload, [encode_command(command) for command in commands]))
        happening, decisions = said or fact, decisions_of(commands)
        self.lines.append(Row(len(self.rows), at, job_of(fact), happening, decisions))
