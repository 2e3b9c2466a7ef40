"""The document of a job's page, for running and ended jobs and for the report file.

The timeline and the story, which can be long, are separate documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from minispark.errors import Cancelled, ErrorInfo
from minispark.ids import TaskKey
from minispark.observe.failures import error_kind
from minispark.observe.headline import Sentence, headline
from minispark.observe.live_progress import RunningAttempt
from minispark.observe.record import JobRecord
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.observe.why import Advice, Facts, why
from minispark.plan.explain import render
from minispark.ui.graph import PlanGraph, plan_graph
from minispark.ui.quantiles import StageQuantiles, WorkerShare, quantiles, worker_shares
from minispark.ui.throughput import Throughput, throughput_of

_MAX_PROBLEMS = 50
"""More different problems do not help a reader; the list of attempts has all of them."""


_MAX_OTHERS = 5
"""Messages of one kind of failure, besides the first."""


class OutputRows(BaseModel):
    """A result that can be downloaded."""

    node: str
    columns: list[str]
    rows: int
    bytes: int


class OutputFiles(BaseModel):
    """Files that the job wrote."""

    node: str | None
    path: str
    format: str
    files: int
    rows: int
    bytes: int


class Problem(BaseModel):
    """Attempts that failed in the same way, perhaps over other data.

    ``error``, ``task``, ``worker`` and ``at`` are of the first one.
    """

    error: ErrorInfo
    count: int
    task: str
    worker: str
    at: float
    workers: list[str]
    others: list[str] = []
    """Some messages that differ from that of ``error``."""


class JobPage(BaseModel):
    """Everything that the page of a job shows, at the time ``made_at``."""

    job: JobView
    headline: Sentence
    metrics: JobMetrics
    rows: list[StageRow]
    graph: PlanGraph
    quantiles: list[StageQuantiles]
    workers: list[WorkerShare]
    advice: list[Advice]
    problems: list[Problem]
    outputs: list[OutputRows]
    files: list[OutputFiles]
    explain: str
    made_at: float
    throughput: Throughput | None = None
    """What was read in a second, over the time of the job."""


@dataclass(frozen=True, slots=True)
class JobPageInputs:
    """The views and outputs of a job; of an ended job, as they were stored."""

    view: JobView
    rows: list[StageRow]
    metrics: JobMetrics
    outputs: Sequence[OutputRows] = ()
    files: Sequence[OutputFiles] = ()
    running: Mapping[TaskKey, RunningAttempt] = field(default_factory=dict)
    """What running attempts have read so far."""
    up: int = 0
    """Slots of the workers that are UP."""


def job_page_of(record: JobRecord, inputs: JobPageInputs, *, now: float) -> JobPage:
    """Return the document of a job's page."""
    return JobPage(
        job=inputs.view,
        headline=headline(record, inputs.view, inputs.metrics),
        metrics=inputs.metrics,
        rows=inputs.rows,
        graph=plan_graph(record, inputs.rows),
        quantiles=quantiles(record, {row.id: row.skew for row in inputs.rows}),
        workers=worker_shares(record),
        advice=why(Facts(record, inputs.up)),
        problems=problems(record),
        outputs=list(inputs.outputs),
        files=list(inputs.files),
        explain=render(record.graph),
        made_at=now,
        throughput=throughput_of(record, inputs.running, now=now),
    )


def problems(record: JobRecord) -> list[Problem]:
    """Return the failures of a job, each kind once, in the order of their first occurrence."""
    groups: dict[tuple[str | None, ...], Problem] = {}
    for key, attempt in record.attempts.items():
        if attempt.failure is None or isinstance(attempt.failure, Cancelled):
            continue
        error = record.explain(attempt.failure, key)
        kind = error_kind(error)
        problem = groups.get(kind)
        if problem is not None:
            problem.count += 1
            told = [problem.error.message, *problem.others]
            if error.message not in told and len(told) <= _MAX_OTHERS:
                problem.others.append(error.message)
            if attempt.worker not in problem.workers:
                problem.workers.append(attempt.worker)
        elif len(groups) < _MAX_PROBLEMS:
            groups[kind] = Problem(
                error=error,
                count=1,
                task=key.block_id,
                worker=attempt.worker,
                at=attempt.finished_at or attempt.started_at,
                workers=[attempt.worker],
            )
    return list(groups.values())
