"""What people see of a job: a fold over the rows of its journal.

A running master, a restarted one and the history of a job that has ended fold the same rows, so
they show the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from minispark.errors import Cancelled
from minispark.journal.journal import JournalEvent
from minispark.journal.rows import FailureRow, Registration, Row, Submission, SuccessRow
from minispark.logs import logger
from minispark.observe.record import JobRecord
from minispark.scheduler.commands import CancelTask, FinishJob, JobStatus, LaunchTask, WorkerDown
from minispark.scheduler.reasons import Reason, Why, down_words

_log = logger("observe")
_AGAIN = Reason(Why.REGISTERED_AGAIN)


def fold(record: JobRecord, rows: Iterable[Row]) -> None:
    """Apply rows in order; one that raises is skipped and logged."""
    for row in rows:
        try:
            apply(record, row)
        except Exception:
            _log.exception("row_skipped", job=record.job_id, row=row.seq)


def apply(record: JobRecord, row: Row) -> None:
    """Take one row into a record; what a row says of other jobs changes nothing."""
    happening = row.happening
    if isinstance(happening, Registration):
        record.worker_lost(happening.worker, down_words(_AGAIN), row.at)
    elif row.job == record.job_id:
        match happening:
            case SuccessRow() if row.accepted:
                record.succeeded(happening.report, happening.worker, row.at)
            case Submission():
                record.begins_with(happening.found, row.at)
            case FailureRow(report=report) if row.accepted:
                record.failed(
                    report.key,
                    report.failure,
                    happening.worker,
                    row.at,
                    log=report.log,
                    took_s=report.duration_s,
                )
            case _:
                pass
    for decision in row.decisions:
        match decision:
            case LaunchTask(key=key) if key.job == record.job_id:
                record.launched(key, decision.worker, row.at, decision.reason)
            case CancelTask(key=key) if key.job == record.job_id:
                record.failed(key, Cancelled(), decision.worker, row.at)
            case WorkerDown():
                record.worker_lost(decision.worker, down_words(decision.reason), row.at)
            case FinishJob(job=job) if job == record.job_id:
                finish(record, decision, row.at)
            case _:
                pass


def finish(record: JobRecord, end: FinishJob, at: float) -> None:
    """Take the end of a job into its record; the first end stays."""
    error = None
    if end.status is JobStatus.FAILED and end.failure is not None:
        error = record.explain(end.failure, end.key)
    record.finished(end.status, error, at)


def read_rows(stored: Iterable[JournalEvent]) -> Iterator[Row]:
    """Read rows of the journal; one that cannot be read is skipped and logged."""
    for line in stored:
        try:
            yield Row.read(line)
        except Exception:
            _log.exception("row_not_read", job=line.job, row=line.seq, kind=line.kind)


class ReaderGuard:
    """Runs readers. The first error of each is logged in full; later ones are only counted."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        """How often each reader has raised."""

    def run(self, reader: str, act: Callable[..., object], *arguments: Any, **fields: Any) -> bool:
        """Run what a reader does with what it is given; return False if it raised."""
        try:
            act(*arguments)
        except Exception:
            self.failures[reader] = self.failures.get(reader, 0) + 1
            if self.failures[reader] == 1:
                _log.exception("reader_failed", reader=reader, **fields)
            return False
        return True
