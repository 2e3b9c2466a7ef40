"""Everything that the page of a job shows, as one document.

A page is made of it, and so is a report: there is one page, whether its job runs, has ended, or
lies in a file. The timeline and the story, which can be long, are documents of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from minispark.observe.headline import Sentence, headline
from minispark.observe.record import JobRecord
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.observe.why import Advice, Facts, why
from minispark.plan.explain import render
from minispark.ui.graph import PlanGraph, plan_graph
from minispark.ui.problems import Problem, problems
from minispark.ui.quantiles import StageQuantiles, WorkerShare, quantiles, worker_shares


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


class JobPage(BaseModel):
    """A job, as its page shows it. ``made_at`` is when."""

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


@dataclass(frozen=True, slots=True)
class JobPageInputs:
    """What is shown of a job besides its record: what was kept of one that has ended."""

    view: JobView
    rows: list[StageRow]
    metrics: JobMetrics
    outputs: Sequence[OutputRows] = ()
    files: Sequence[OutputFiles] = ()
    slots: Mapping[str, int] = field(default_factory=dict)
    """Slots of the workers that are known."""
    up: int = 0
    """Slots of those that are up."""


def sheet_of(record: JobRecord, shown: JobPageInputs, *, now: float) -> JobPage:
    """Gather what the page of a job shows."""
    return JobPage(
        job=shown.view,
        headline=headline(record, shown.view, shown.metrics),
        metrics=shown.metrics,
        rows=shown.rows,
        graph=plan_graph(record, shown.rows),
        quantiles=quantiles(record, {row.id: row.skew for row in shown.rows}),
        workers=worker_shares(record),
        advice=why(Facts(record, shown.up)),
        problems=problems(record),
        outputs=list(shown.outputs),
        files=list(shown.files),
        explain=render(record.graph),
        made_at=now,
    )
