"""Task metrics of a stage in five numbers each, and what every worker did for a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from minispark.observe.record import JobRecord
from minispark.observe.stage_totals import rows_out
from minispark.observe.tables import StageState
from minispark.task.spec import TaskReport

Unit = Literal["s", "rows", "bytes"]


class Quantiles(BaseModel):
    """One figure over the tasks of a stage."""

    name: str
    unit: Unit
    values: list[float]
    """Least, 25 %, 50 %, 75 %, most."""
    most: str
    """The attempt with the most of it."""


class StageQuantiles(BaseModel):
    """The figures of the accepted attempts of a stage."""

    stage: int
    name: str
    tasks: int
    skew: float | None
    figures: list[Quantiles]


class WorkerShare(BaseModel):
    """What a worker did for a job."""

    worker: str
    attempts: int
    succeeded: int
    failed: int
    running: int
    busy_s: float
    rows: int


@dataclass(slots=True)
class _Share:
    """A `WorkerShare` in the making: models are slow to add to, ten thousand times."""

    states: Counter[str] = field(default_factory=Counter)
    busy_s: float = 0.0
    rows: int = 0


_FIGURES: tuple[tuple[str, Unit, Callable[[TaskReport], float]], ...] = (
    ("ran", "s", lambda report: report.duration_s),
    ("rows out", "rows", rows_out),
    ("bytes read", "bytes", lambda report: report.bytes_read),
    ("bytes written", "bytes", lambda report: report.block.bytes),
    ("bytes over the network", "bytes", lambda report: report.bytes_fetched),
)


def quantiles(record: JobRecord, skews: dict[str, float | None]) -> list[StageQuantiles]:
    """Sum up the tasks of each stage that has any; ``skews`` are those of the stage table."""
    found = []
    for state in record.stages.values():
        reports = list(state.reports.values())
        if not reports:
            continue
        figures = [_figure(name, unit, reports, value) for name, unit, value in _FIGURES]
        figures[1:1] = [_stood_in_line(record, reports), _rows_in(record, state)]
        found.append(
            StageQuantiles(
                stage=state.stage.id,
                name=state.stage.name,
                tasks=len(reports),
                skew=skews.get(f"stage-{state.stage.id}"),
                figures=[figure for figure in figures if figure.values[-1] > 0],
            )
        )
    return found


def worker_shares(record: JobRecord) -> list[WorkerShare]:
    """Say what each worker did, by name."""
    shares: dict[str, _Share] = {}
    for key, attempt in record.attempts.items():
        share = shares.get(attempt.worker)
        if share is None:
            share = shares[attempt.worker] = _Share()
        share.states[attempt.status] += 1
        share.busy_s += attempt.took_s or 0.0
        report = record.stages[key.stage].reports.get(key.partition)
        share.rows += report.rows_in if report is not None and report.key == key else 0
    return [
        WorkerShare(
            worker=name,
            attempts=share.states.total(),
            succeeded=share.states["SUCCEEDED"],
            failed=share.states["FAILED"],
            running=share.states["RUNNING"],
            busy_s=share.busy_s,
            rows=share.rows,
        )
        for name, share in sorted(shares.items())
    ]


def _rows_in(record: JobRecord, state: StageState) -> Quantiles:
    """Rows of blocks, or, where files are read, rows that their nodes counted."""
    sources = [node for node in state.stage.nodes if not record.graph.flow.get(node, (node,))]

    def rows(report: TaskReport) -> float:
        counted = sum(report.nodes.get(node, 0) for node in sources)
        return counted if state.scans_rows and sources else report.rows_in

    return _figure("rows in", "rows", list(state.reports.values()), rows)


def _stood_in_line(record: JobRecord, reports: Sequence[TaskReport]) -> Quantiles:
    def waited(report: TaskReport) -> float:
        attempt = record.attempts[report.key]
        ended = attempt.finished_at or attempt.started_at
        return max(0.0, ended - attempt.started_at - report.duration_s)

    return _figure("stood in line", "s", reports, waited)


def _figure(
    name: str, unit: Unit, reports: Sequence[TaskReport], value: Callable[[TaskReport], float]
) -> Quantiles:
    values = [float(value(report)) for report in reports]
    most = reports[values.index(max(values))].key
    values.sort()
    last = len(values) - 1
    return Quantiles(
        name=name,
        unit=unit,
        values=[values[round(last * share)] for share in (0, 0.25, 0.5, 0.75, 1)],
        most=most.block_id,
    )
