"""How far the scheduler goes: many workers and tasks through the pure state machine.

No process, no network, no disk: what is timed are the calls of ``Scheduler.step`` alone, in time of
the processor, so that whatever else the machine does counts little. A decision is a task that was
launched and whose report was accepted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from resource import RUSAGE_SELF, getrusage
from time import process_time
from typing import Final

from minispark.blocks.meta import Receipt
from minispark.ids import TaskKey
from minispark.plan.stages import ReadMode, StageInput
from minispark.scheduler import Scheduler, snapshot
from minispark.scheduler.commands import (
    CancelTask,
    Command,
    FinishJob,
    JobStatus,
    LaunchTask,
)
from minispark.scheduler.events import (
    Event,
    JobSubmitted,
    TaskSucceeded,
    TimerFired,
    WorkerHeartbeat,
    WorkerRegistered,
)
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings

_READERS: Final = 8
"""Tasks of the last stage: each reads a block of every task before it."""
_RECEIPT: Final = Receipt((1_000,) * _READERS, (1,) * _READERS)
_HEARTBEAT_S: Final = 2.0
_TELL_EVERY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Scale:
    """What a run took."""

    workers: int
    slots: int
    tasks: int
    decisions_s: float
    """Tasks a second that read files, so that a launch is small."""
    submit_s: float
    """To take the job in, and launch what fits."""
    steps: int
    reader_s: float
    """For a task of the last stage: launched with a block of every task before it."""
    heartbeat_us: float
    timer_us: float
    snapshot_s: float
    """To dump, encode, decode and load when all tasks but the last stage's are done."""
    snapshot_mb: float
    peak_mb: float
    """Memory of this process at its largest."""


class _Run:
    """A job on workers that need a moment for each task."""

    def __init__(self, workers: int, tasks: int, slots: int) -> None:
        self.scheduler = Scheduler(SchedulerSettings())
        self.now = 0.0
        self.spent_s = 0.0
        self.decided_s = 0.0
        """For all reports but the last, which launches the readers."""
        self.steps = self.done = 0
        self.ended: JobStatus | None = None
        self._chance = Random(0)  # noqa: S311 - the same each time
        self._reports: list[tuple[float, int, TaskSucceeded]] = []
        self._beaten_s = 0.0
        self._called_back: dict[TaskKey, None] = {}
        self.readers: dict[TaskKey, LaunchTask] = {}
        self._maps = tasks - _READERS
        for number in range(workers):
            self.step(WorkerRegistered(f"w{number}", 1, slots))

    def job(self) -> JobSpec:
        read = StageInput("in", 0, ReadMode.PARTITION)
        return JobSpec(
            "job",
            (
                StageSpec(0, (StageBranch(self._maps),)),
                StageSpec(1, (StageBranch(_READERS, (read,)),), result=True),
            ),
        )

    def step(self, event: Event) -> None:
        """Tell the scheduler, and time it."""
        begin_s = process_time()
        commands = self.scheduler.step(event, self.now)
        self.spent_s += process_time() - begin_s
        self.steps += 1
        for command in commands:
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, LaunchTask):
            if command.key.stage == 1:
                self.readers[command.key] = command
                return
            report = TaskSucceeded(command.key, command.worker, 1, _RECEIPT)
            heappush(self._reports, (self.now + 0.5 + self._chance.random(), self.steps, report))
        elif isinstance(command, CancelTask):
            # It waited behind another, and goes elsewhere.
            self.readers.pop(command.key, None)
            self._called_back[command.key] = None
        elif isinstance(command, FinishJob):
            self.ended = command.status

    def live(self, progress: Callable[[int], None]) -> None:
        """Run the first stage to its end."""
        while self._reports:
            if self.scheduler.wake_s <= self._reports[0][0]:
                self._beat_all()
                continue
            self.now, _, report = heappop(self._reports)
            if report.key in self._called_back:
                continue
            if self.done == self._maps - 1:
                self.decided_s, self.spent_s = self.spent_s, 0.0
            self.step(report)
            self.done += 1
            if self.done % _TELL_EVERY == 0:
                progress(self.done)

    def _beat_all(self) -> None:
        """Let the timer come, and all show that they live now and then: that is not timed here."""
        self.now = max(self.now, self.scheduler.wake_s)
        workers: list[Worker] = []
        if self.now >= self._beaten_s + _HEARTBEAT_S:
            workers, self._beaten_s = list(self.scheduler.state.workers.values()), self.now
        beats = [WorkerHeartbeat(w.name, 1, tuple(w.leased)) for w in workers]
        events: list[Event] = [*beats, TimerFired()]
        for event in events:
            for command in self.scheduler.step(event, self.now):
                self._carry_out(command)

    def finish(self) -> None:
        """Report the last stage."""
        while self.readers:
            launch = self.readers.pop(next(iter(self.readers)))
            self.now += 0.001
            self.step(TaskSucceeded(launch.key, launch.worker, 1, Receipt((1,), (1,)), ((0, 0),)))


def measure(
    workers: int,
    tasks: int,
    *,
    slots: int = 4,
    progress: Callable[[int], None] = lambda done: None,
) -> Scale:
    """Run a job of so many tasks on so many workers."""
    run = _Run(workers, max(tasks, _READERS + 1), slots)
    run.spent_s, run.steps = 0.0, 0
    run.step(JobSubmitted(run.job()))
    submit_s, run.spent_s = run.spent_s, 0.0
    run.live(progress)
    launched_s = run.spent_s
    heartbeat_us = _time_us(run, _beats(run))
    timer_us = _time_us(run, [TimerFired()] * 100)
    begin_s = process_time()
    text = json.dumps(snapshot.dump(run.scheduler.state))
    snapshot.load(json.loads(text))
    snapshot_s = process_time() - begin_s
    run.spent_s = 0.0
    run.finish()
    if run.ended is not JobStatus.SUCCEEDED:
        msg = f"the job ended {run.ended}"
        raise RuntimeError(msg)
    return Scale(
        workers=workers,
        slots=slots,
        tasks=run.done + _READERS,
        decisions_s=run.done / run.decided_s,
        submit_s=submit_s,
        steps=run.steps,
        reader_s=(launched_s + run.spent_s) / _READERS,
        heartbeat_us=heartbeat_us,
        timer_us=timer_us,
        snapshot_s=snapshot_s,
        snapshot_mb=len(text) / 1e6,
        peak_mb=getrusage(RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3),
    )


def _beats(run: _Run) -> list[Event]:
    workers = list(run.scheduler.state.workers.values())[:1_000]
    return [WorkerHeartbeat(w.name, 1, tuple(w.leased)) for w in workers]


def _time_us(run: _Run, events: list[Event]) -> float:
    run.spent_s = 0.0
    for event in events:
        run.step(event)
    return 1e6 * run.spent_s / max(1, len(events))
