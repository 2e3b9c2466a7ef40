"""The columns of the list of a job's attempts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minispark.observe.listing import ListColumns, Value
from minispark.observe.record import JobRecord
from minispark.observe.stage_state import Attempt
from minispark.observe.stage_totals import rows_out
from minispark.task.spec import TaskReport, TaskUsage


class AttemptRow(NamedTuple):
    """An attempt, with the record of its job."""

    attempt: Attempt
    record: JobRecord


def _reported(value: Callable[[TaskReport], float]) -> Callable[[AttemptRow], Value]:
    def of(row: AttemptRow) -> Value:
        key = row.attempt.key
        report = row.record.stages[key.stage].reports.get(key.partition)
        return value(report) if report is not None and report.key == key else None

    return of


def _used(value: Callable[[TaskUsage], float | None]) -> Callable[[AttemptRow], Value]:
    return lambda row: None if row.attempt.usage is None else value(row.attempt.usage)


def _texts(row: AttemptRow) -> tuple[str | None, ...]:
    attempt, failure = row.attempt, row.attempt.failure
    stage = row.record.stages[attempt.key.stage].stage
    message = None if failure is None else row.record.explain(failure, attempt.key).message
    name = f"stage-{stage.id} {stage.name}"
    return attempt.key.block_id, attempt.worker, attempt.status, name, message


ATTEMPT_COLUMNS: ListColumns[AttemptRow] = ListColumns(
    key=lambda row: row.attempt.key.block_id,
    status=lambda row: row.attempt.status,
    texts=_texts,
    sorts={
        "stage": lambda row: row.attempt.key.stage,
        "task": lambda row: row.attempt.key.partition,
        "attempt": lambda row: row.attempt.key.attempt,
        "status": lambda row: row.attempt.status,
        "worker": lambda row: row.attempt.worker,
        "started": lambda row: row.attempt.started_at,
        "queued": lambda row: row.attempt.queued_s,
        "ran": lambda row: row.attempt.took_s,
        "cpu": _used(lambda usage: usage.cpu_s),
        "memory": _used(lambda usage: usage.peak_memory_bytes),
        "spilled": _used(lambda usage: usage.bytes_spilled),
        "rows_in": _reported(lambda report: report.rows_in),
        "rows_out": _reported(rows_out),
        "read": _reported(lambda report: report.bytes_read),
        "written": _reported(lambda report: report.bytes_written),
    },
)
