"""All attempts of a job as columns, for the timeline and for a trace.

Columns, not rows: 10,000 attempts are half a megabyte instead of three.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from minispark.ids import TaskKey
from minispark.observe.record import JobRecord
from minispark.observe.stage_totals import rows_out
from minispark.ui.lanes import lanes_of

STATES = ("RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")


class TimelineWorker(BaseModel):
    """A worker and how many lanes it has; its line of waiting attempts comes after them."""

    worker: str
    lanes: int


class Timeline(BaseModel):
    """Attempts, one a position of every column. Times are seconds after ``began_at``."""

    job_id: str
    began_at: float
    until_s: float
    ended: bool
    stages: dict[int, str]
    """Names of the stages."""
    workers: list[TimelineWorker]
    worker: list[int] = []
    """Position in ``workers``."""
    lane: list[int] = []
    """-1: it only stood in line."""
    stage: list[int] = []
    generation: list[int] = []
    partition: list[int] = []
    attempt: list[int] = []
    state: list[int] = []
    """Position in `STATES`."""
    speculative: list[int] = []
    """Positions of attempts that ran beside another of the same task."""
    leased_s: list[float] = []
    begin_s: list[float] = []
    end_s: list[float] = []
    rows: list[int] = []
    """Rows that it gave; 0 where it did not succeed."""


def timeline_of(record: JobRecord, *, slots: Mapping[str, int], now: float) -> Timeline:
    """Describe every attempt of a job."""
    zero, until = record.submitted_at, record.finished_at or now
    found = lanes_of(record.attempts.values(), slots=slots, now=until)
    line = Timeline(
        job_id=record.job_id,
        began_at=zero,
        until_s=round(max(0.0, until - zero), 4),
        ended=record.ended,
        stages={stage.id: stage.name for stage in record.graph.stages},
        workers=[TimelineWorker(worker=w.worker, lanes=w.lanes) for w in found],
    )
    places = [place for worker in found for place in worker.places]
    attempts = [place.attempt for place in places]
    keys = [attempt.key for attempt in attempts]
    line.worker = [number for number, worker in enumerate(found) for _ in worker.places]
    line.lane = [-1 if place.lane is None else place.lane for place in places]
    line.stage = [key.stage for key in keys]
    line.generation = [key.generation for key in keys]
    line.partition = [key.partition for key in keys]
    line.attempt = [key.attempt for key in keys]
    line.state = [STATES.index(attempt.status) for attempt in attempts]
    line.speculative = [n for n, attempt in enumerate(attempts) if attempt.speculative]
    line.leased_s = [round(attempt.started_at - zero, 4) for attempt in attempts]
    line.begin_s = [round(place.begin - zero, 4) for place in places]
    line.end_s = [round(place.end - zero, 4) for place in places]
    line.rows = [_rows(record, key) for key in keys]
    return line


def _rows(record: JobRecord, key: TaskKey) -> int:
    report = record.stages[key.stage].reports.get(key.partition)
    return 0 if report is None or report.key != key else rows_out(report)
