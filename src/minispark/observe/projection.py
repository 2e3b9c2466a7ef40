"""The projection: records of jobs, folded from the rows of the journal; a guard for readers.

A running master, a restarted one and the history of an ended job fold the same rows, so they show
the same values.
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
    """Apply one row to a record; parts of the row about other jobs change nothing."""
    happening = row.happening
    if isinstance(happening, Registration):
        record.worker_lost(happening.worker, down_words(_AGAIN), row.at)
    elif row.job == record.job_id:
        match happening:
            case SuccessRow() if row.accepted:
                record.succeeded(happening.report, happening.worker, row.at)
            case Submission():
                record.add_cached(happening.found, row.at)
            case FailureRow(report=report) if row.accepted:
                worker = happening.worker
                record.failed(report.key, report.failure, worker, row.at, report=report)
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
    """Apply the end of a job to its record; only the first end counts."""
    error = None
    if end.status is JobStatus.FAILED and end.failure is not None:
        error = record.explain(end.failure, end.key)
    record.finished(end.status, error, at)


def read_rows(stored: Iterable[JournalEvent]) -> Iterator[Row]:
    """Yield the rows of events; one that cannot be read is skipped and logged."""
    for line in stored:
        try:
            yield Row.read(line)
        except Exception:
            _log.exception("row_not_read", job=line.job, row=line.seq, kind=line.kind)


class ReaderGuard:
    """Runs readers of rows, whose exceptions must not stop the master.

    The first exception of each reader is logged in full; later ones are only counted.
    """

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        """Number of exceptions of each reader."""

    def run(self, reader: str, act: Callable[..., object], *arguments: Any, **fields: Any) -> bool:
        """Call a reader's function with arguments; return False if it raised."""
        try:
            act(*arguments)
        except Exception:
            self.failures[reader] = self.failures.get(reader, 0) + 1
            if self.failures[reader] == 1:
                _log.exception("reader_failed", reader=reader, **fields)
            return False
        return True
