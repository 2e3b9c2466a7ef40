"""A prediction of a job's time on another number of workers.

The real scheduler places the measured tasks, with their measured times, on simulated workers.
Covers: the measures from a journal (`measured`), the simulation (`predict`). Does not cover: slots
that share a core, a full network, another number of partitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from minispark.blocks.meta import Receipt
from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.journal.rows import Row, Submission, SuccessRow
from minispark.observe.model_cluster import ModelCluster, Pace
from minispark.scheduler.commands import FinishJob, JobStatus, LaunchTask
from minispark.scheduler.core import Scheduler
from minispark.scheduler.spec import JobSpec
from minispark.settings import SchedulerSettings

_MAX_STEPS: Final = 10_000_000

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """The measures of a job from its journal. Times are in seconds."""

    spec: JobSpec
    seconds: Mapping[Place, float]
    """Time of the accepted attempt of each task in its executor."""
    receipts: Mapping[Place, Receipt]
    round_s: float
    """Time from launch to report of an attempt with a free slot, less its own time."""
    after_s: float
    """Time from the last report to the end, mostly the commit."""
    total_s: float
    """Time from the job's arrival at the scheduler to its end."""


@dataclass(frozen=True, slots=True)
class StagePrediction:
    """The predicted time of a stage, from its first launch to its last report."""

    stage: int
    tasks: int
    begins_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted time of a job, from its arrival to its end."""

    workers: int
    slots: int
    total_s: float
    stages: tuple[StagePrediction, ...]


def measured(rows: Iterable[Row], job: str) -> Measured:
    """Return the measures of a job from its rows.

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
            case Submission(job=submitted) if submitted.job == job:
                spec, begun_s = submitted, row.at
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
        msg = f"{job} has not succeeded yet, or the journal no longer has all of it"
        hint = "Only completed jobs can be used for a prediction."
        raise UsageError(msg, code="MS-143", hint=hint)
    return Measured(
        spec,
        seconds,
        receipts,
        # Attempts that waited behind others are slower; the simulation has that wait already.
        round_s=_low(rounds),
        after_s=max(0.0, ended_s - reported_s),
        total_s=ended_s - begun_s,
    )


def _low(values: list[float]) -> float:
    """Return the lower quartile, 0 without values."""
    ordered = sorted(values)
    return ordered[len(ordered) // 4] if ordered else 0.0


def predict(job: Measured, *, workers: int, slots: int) -> Prediction:
    """Simulate the job on a number of workers."""
    usual_s = median(job.seconds.values()) if job.seconds else 0.0
    pace = Pace(
        lambda key: job.seconds.get((key.stage, key.partition), usual_s),
        lambda key: job.receipts.get((key.stage, key.partition), Receipt()),
        job.round_s,
        job.after_s,
    )
    cluster = ModelCluster(Scheduler(SchedulerSettings()), workers, slots, pace)
    cluster.submit(job.spec)
    for _ in range(_MAX_STEPS):
        if cluster.ended is not None:
            break
        cluster.advance()
    begun, reported = cluster.first_launch_s, cluster.last_report_s
    stages = tuple(
        StagePrediction(
            stage.id,
            stage.partitions,
            begun[stage.id],
            reported.get(stage.id, begun[stage.id]) - begun[stage.id],
        )
        for stage in job.spec.stages
        if stage.id in begun
    )
    return Prediction(workers, slots, cluster.now, stages)
