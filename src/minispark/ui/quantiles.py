"""Quantiles of a stage's task metrics, and the share of each worker in a job."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel

from minispark.observe.record import JobRecord
from minispark.observe.stage_state import StageState
from minispark.observe.stage_totals import rows_out
from minispark.task.spec import TaskReport, TaskUsage

Unit = Literal["s", "rows", "bytes"]


class Quantiles(BaseModel):
    """One metric over the tasks of a stage."""

    name: str
    unit: Unit
    values: list[float]
    """Minimum, 25 %, 50 %, 75 %, maximum."""
    most: str
    """The attempt with the maximum."""


class StageQuantiles(BaseModel):
    """The metrics of the accepted attempts of a stage."""

    stage: int
    name: str
    tasks: int
    skew: float | None
    figures: list[Quantiles]


class WorkerShare(BaseModel):
    """The attempts, time and rows of a worker in a job."""

    worker: str
    attempts: int
    succeeded: int
    failed: int
    running: int
    busy_s: float
    rows: int


_METRICS: tuple[tuple[str, Unit, Callable[[TaskReport], float]], ...] = (
    ("ran", "s", lambda report: report.duration_s),
    ("rows out", "rows", rows_out),
    ("bytes of files read", "bytes", lambda report: report.bytes_read),
    ("bytes of blocks read", "bytes", lambda report: report.block_bytes_read),
    ("bytes written", "bytes", lambda report: report.bytes_written),
    ("bytes over the network", "bytes", lambda report: report.bytes_fetched),
    ("bytes spilled", "bytes", lambda report: _used(report).bytes_spilled),
    ("CPU time", "s", lambda report: _used(report).cpu_s),
    ("peak memory", "bytes", lambda report: _used(report).peak_memory_bytes or 0),
)
_UNMEASURED = TaskUsage()


def quantiles(record: JobRecord, skews: dict[str, float | None]) -> list[StageQuantiles]:
    """Return the quantiles of each stage with reports; ``skews`` are those of the stage table."""
    stages = []
    for state in record.stages.values():
        reports = list(state.reports.values())
        if not reports:
            continue
        metrics = [_quantiles(name, unit, reports, value) for name, unit, value in _METRICS]
        metrics[1:1] = [_queued(record, reports), _rows_in(record, state)]
        stages.append(
            StageQuantiles(
                stage=state.stage.id,
                name=state.stage.name,
                tasks=len(reports),
                skew=skews.get(f"stage-{state.stage.id}"),
                figures=[metric for metric in metrics if metric.values[-1] > 0],
            )
        )
    return stages


def worker_shares(record: JobRecord) -> list[WorkerShare]:
    """Return the share of each worker, by name."""
    states: defaultdict[str, Counter[str]] = defaultdict(Counter)
    busy_s: defaultdict[str, float] = defaultdict(float)
    rows: Counter[str] = Counter()
    for key, attempt in record.attempts.items():
        states[attempt.worker][attempt.status] += 1
        busy_s[attempt.worker] += attempt.took_s or 0.0
        report = record.stages[key.stage].reports.get(key.partition)
        if report is not None and report.key == key:
            rows[attempt.worker] += report.rows_in
    return [
        WorkerShare(
            worker=name,
            attempts=count.total(),
            succeeded=count["SUCCEEDED"],
            failed=count["FAILED"],
            running=count["RUNNING"],
            busy_s=busy_s[name],
            rows=rows[name],
        )
        for name, count in sorted(states.items())
    ]


def _used(report: TaskReport) -> TaskUsage:
    return report.usage or _UNMEASURED


def _rows_in(record: JobRecord, state: StageState) -> Quantiles:
    """Rows of blocks, or of files as their nodes counted them."""
    sources = [node for node in state.stage.nodes if not record.graph.flow.get(node, (node,))]

    def rows(report: TaskReport) -> float:
        counted = sum(report.nodes.get(node, 0) for node in sources)
        return counted if state.scans_rows and sources else report.rows_in

    return _quantiles("rows in", "rows", list(state.reports.values()), rows)


def _queued(record: JobRecord, reports: Sequence[TaskReport]) -> Quantiles:
    def waited(report: TaskReport) -> float:
        return record.attempts[report.key].queued_s or 0.0

    return _quantiles("queue time", "s", reports, waited)


def _quantiles(
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
