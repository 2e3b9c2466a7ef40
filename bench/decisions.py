"""Task decisions per second of the scheduler alone: no master, no network, no worker.

    python bench/decisions.py [--workers 1000] [--slots 4] [--tasks 100000] [--runs 3]

A decision is a task from ready to accepted: an attempt is launched and its report accepted. Reports
arrive in the order of the launches, so every worker is always as busy as possible; each report
advances the clock by a millisecond. Seconds are CPU time of the one thread.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Annotated

import typer

from minispark.blocks.meta import Receipt
from minispark.cli.terminal import print_table
from minispark.ids import TaskKey
from minispark.plan.stages import ReadMode, StageInput
from minispark.scheduler.commands import Command, LaunchTask
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import JobSubmitted, TaskSucceeded, WorkerRegistered
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.settings import SchedulerSettings

RECEIPT = Receipt((1,), (1,))
TICK_S = 0.001


def one_job(tasks: int) -> list[JobSpec]:
    """Return one job of independent tasks."""
    return [JobSpec("job-0", (StageSpec(0, (StageBranch(tasks),), result=True),))]


def many_jobs(tasks: int) -> list[JobSpec]:
    """Return a hundred jobs that share the workers."""
    each = max(1, tasks // 100)
    return [
        JobSpec(f"job-{n}", (StageSpec(0, (StageBranch(each),), result=True),), weight=1.0 + n % 3)
        for n in range(100)
    ]


def small_jobs(tasks: int) -> list[JobSpec]:
    """Return jobs with a map and a reduce of ten tasks each: the ends of jobs count too."""
    edge = StageInput("in", 0, ReadMode.PARTITION)
    reduce = StageSpec(1, (StageBranch(10, (edge,)),), result=True)
    stages = (StageSpec(0, (StageBranch(10),)), reduce)
    return [JobSpec(f"job-{n}", stages) for n in range(max(1, tasks // 20))]


def forward(tasks: int) -> list[JobSpec]:
    """Return a job whose reduce tasks each read one block: every launch looks it up."""
    edge = StageInput("in", 0, ReadMode.FORWARD)
    half = max(1, tasks // 2)
    stages = (
        StageSpec(0, (StageBranch(half),)),
        StageSpec(1, (StageBranch(half, (edge,)),), result=True),
    )
    return [JobSpec("job-0", stages)]


SHAPES: dict[str, Callable[[int], list[JobSpec]]] = {
    "one job": one_job,
    "100 jobs, weighted": many_jobs,
    "jobs of 10 + 10": small_jobs,
    "blocks read on": forward,
}


def decide(jobs: list[JobSpec], *, workers: int, slots: int, at_once: int) -> tuple[int, float]:
    """Run jobs, ``at_once`` at a time; return the number of tasks and the seconds."""
    scheduler = Scheduler(SchedulerSettings(heartbeat_timeout_s=float("inf")))
    for number in range(workers):
        scheduler.step(WorkerRegistered(f"w{number}", 1, slots), 0.0)
    launched: deque[tuple[TaskKey, str]] = deque()
    waiting = deque(jobs)
    ended = done = 0
    now = 0.0

    def count_ends(commands: list[Command]) -> int:
        ends = 0
        for command in commands:
            if isinstance(command, LaunchTask):
                launched.append((command.key, command.worker))
            ends += command.kind == "finish_job"
        return ends

    begin = time.process_time()
    while ended < len(jobs):
        while waiting and len(jobs) - len(waiting) - ended < at_once:
            ended += count_ends(scheduler.step(JobSubmitted(waiting.popleft()), now))
        now += TICK_S
        key, worker = launched.popleft()
        ended += count_ends(scheduler.step(TaskSucceeded(key, worker, 1, RECEIPT), now))
        done += 1
    return done, time.process_time() - begin


def main(
    *,
    workers: Annotated[int, typer.Option(min=1)] = 1_000,
    slots: Annotated[int, typer.Option(min=1)] = 4,
    tasks: Annotated[int, typer.Option(min=1)] = 100_000,
    runs: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Print task decisions per second, the median of several runs."""
    rows = []
    for name, shape in SHAPES.items():
        rates = []
        for _ in range(runs):
            done, seconds = decide(shape(tasks), workers=workers, slots=slots, at_once=1_000)
            rates.append(done / seconds)
        rows.append((name, f"{workers:,}", f"{done:,}", f"{statistics.median(rates):,.0f}"))
    print_table(("jobs", "workers", "tasks", "decisions/s"), rows)


if __name__ == "__main__":
    typer.run(main)
