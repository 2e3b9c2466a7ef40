"""A benchmark of the scheduler with many workers and tasks.

No process, no network, no disk: only the calls of ``Scheduler.step`` are timed, in processor time,
so that other load of the machine matters little. A decision is a task that was launched and whose
report was accepted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from resource import RUSAGE_SELF, getrusage
from time import process_time
from typing import Final

from minispark.blocks.meta import Receipt
from minispark.observe.model_cluster import ModelCluster, Pace
from minispark.plan.stages import ReadMode, StageInput
from minispark.scheduler import Scheduler, snapshot
from minispark.scheduler.commands import Command, JobStatus
from minispark.scheduler.events import Event, TaskSucceeded, TimerFired, WorkerHeartbeat
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.settings import SchedulerSettings

_READERS: Final = 8
"""Tasks of the last stage: each reads a block of every task before it."""
_RECEIPT: Final = Receipt((1_000,) * _READERS, (1,) * _READERS)
_REPORT_EVERY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Scale:
    """The results of a run."""

    workers: int
    slots: int
    tasks: int
    decisions_s: float
    """Tasks a second, of a stage that reads files: their launches are small."""
    submit_s: float
    """Time to take the job in and launch the first tasks."""
    steps: int
    reader_s: float
    """Time of a task of the last stage: its launch has a block of every task before it."""
    heartbeat_us: float
    timer_us: float
    snapshot_s: float
    """Time to dump, encode, decode and load when all tasks before the last stage are done."""
    snapshot_mb: float
    peak_mb: float
    """Memory of this process at its largest."""


class _Meter:
    """A scheduler whose steps, except heartbeats and timers, are timed."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self.scheduler = Scheduler(SchedulerSettings())
        self.steps = self.reports = 0
        self._spent_s = 0.0
        self._progress = progress

    def step(self, event: Event, now: float) -> list[Command]:
        begin_s = process_time()
        commands = self.scheduler.step(event, now)
        if not isinstance(event, WorkerHeartbeat | TimerFired):
            self._spent_s += process_time() - begin_s
            self.steps += 1
        if isinstance(event, TaskSucceeded):
            self.reports += 1
            if self.reports % _REPORT_EVERY == 0:
                self._progress(self.reports)
        return commands

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        spent_s, self._spent_s = self._spent_s, 0.0
        return spent_s


def measure(
    workers: int,
    tasks: int,
    *,
    slots: int = 4,
    progress: Callable[[int], None] = lambda done: None,
) -> Scale:
    """Run a job on simulated workers and return its measures."""
    maps = max(1, tasks - _READERS)
    meter, rng = _Meter(progress), Random(0)  # noqa: S311 - the same each time
    pace = Pace(
        lambda key: 0.001 if key.stage else 0.5 + rng.random(),
        lambda key: Receipt((1,), (1,)) if key.stage else _RECEIPT,
    )
    cluster = ModelCluster(meter.scheduler, workers, slots, pace, step=meter.step)
    meter.lap()
    meter.steps = 0
    cluster.submit(_job(maps))
    submit_s = meter.lap()
    _advance(cluster, lambda: meter.reports == maps - 1)
    decided_s = meter.lap()
    _advance(cluster, lambda: meter.reports == maps)
    heartbeats = [cluster.heartbeat(f"w{number}") for number in range(min(workers, 1_000))]
    heartbeat_us = _time_us(cluster, heartbeats)
    timer_us = _time_us(cluster, [TimerFired()] * 100)
    begin_s = process_time()
    text = json.dumps(snapshot.dump(meter.scheduler.state))
    snapshot.load(json.loads(text))
    snapshot_s = process_time() - begin_s
    _advance(cluster, lambda: cluster.ended is not None)
    if cluster.ended is not JobStatus.SUCCEEDED:
        msg = f"the job ended {cluster.ended}"
        raise RuntimeError(msg)
    return Scale(
        workers=workers,
        slots=slots,
        tasks=meter.reports,
        decisions_s=(maps - 1) / decided_s if maps > 1 else 0.0,
        submit_s=submit_s,
        steps=meter.steps,
        reader_s=meter.lap() / _READERS,
        heartbeat_us=heartbeat_us,
        timer_us=timer_us,
        snapshot_s=snapshot_s,
        snapshot_mb=len(text) / 1e6,
        peak_mb=getrusage(RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3),
    )


def _job(maps: int) -> JobSpec:
    read = StageInput("in", 0, ReadMode.PARTITION)
    return JobSpec(
        "job",
        (
            StageSpec(0, (StageBranch(maps),)),
            StageSpec(1, (StageBranch(_READERS, (read,)),), result=True),
        ),
    )


def _advance(cluster: ModelCluster, condition: Callable[[], bool]) -> None:
    while not condition():
        cluster.advance()


def _time_us(cluster: ModelCluster, events: Sequence[Event]) -> float:
    begin_s = process_time()
    for event in events:
        cluster.take(event)
    return 1e6 * (process_time() - begin_s) / max(1, len(events))
