"""Readers of the rows about running jobs; they read durable rows whose commands were carried out.

They change no decision. If a row cannot be applied to the record of a job, the record is folded
from the journal again.
"""

from __future__ import annotations

import asyncio
from functools import partial

from minispark.clock import wall_s
from minispark.errors import FetchFailed
from minispark.journal.rows import FailureRow, Row
from minispark.logs import logger, task_fields
from minispark.master.control.components import Components
from minispark.master.jobs.archiver import JobArchiver
from minispark.master.jobs.job_store import RunningJob
from minispark.observe.projection import apply, fold, read_rows
from minispark.observe.record import JobRecord
from minispark.observe.story_words import reason_words
from minispark.scheduler.commands import WorkerDown

_PAGE = 1_000

_log = logger("master")


class JobReader:
    """Updates the records of running jobs, and stores the views of a job when it has ended."""

    def __init__(self, parts: Components, endings: JobArchiver) -> None:
        self._parts = parts
        self._endings = endings
        self._behind: dict[str, int] = {}
        """Jobs whose records are being folded again, and the last row that they must have."""

    def apply(self, row: Row) -> None:
        """Apply a row to the records of all jobs that it may change."""
        parts = self._parts
        for job in row.jobs:
            live = parts.jobs.live.get(job)
            if live is None:
                continue
            if job in self._behind:
                self._behind[job] = row.seq
            elif parts.guard.run("record", apply, live.record, row, job=job, row=row.seq):
                self._settle(live)
            else:
                self._begin_rebuild(live, row.seq)
        if WorkerDown in map(type, row.decisions):
            update_wait_reasons(parts)

    def recover(self, row: Row) -> None:
        """Fold the records of all jobs that a row may change again, as it was not applied."""
        live = self._parts.jobs.live
        for job in live.keys() & set(row.jobs) - self._behind.keys():
            self._begin_rebuild(live[job], row.seq)

    def _begin_rebuild(self, live: RunningJob, seq: int) -> None:
        self._behind[live.job_id] = seq
        self._parts.loop.spawn(self._rebuild(live))

    async def _rebuild(self, live: RunningJob) -> None:
        """Fold the record of a job from the journal; the old one stays if that fails."""
        job, old = live.job_id, live.record
        record = JobRecord(
            job,
            old.name,
            old.graph,
            old.submitted_at,
            version=old.version + 1,
            origin=old.origin,
        )
        after = 0
        try:
            while after < self._behind[job]:
                read = partial(self._parts.journal.read_events, job, after=after, limit=_PAGE)
                stored = await asyncio.to_thread(read)
                await asyncio.to_thread(fold, record, read_rows(stored))
                after = stored[-1].seq if stored else self._behind[job]
            live.record = record
        except Exception:
            _log.exception("record_not_rebuilt", job=job)
        del self._behind[job]
        self._settle(live)
        update_wait_reasons(self._parts)

    def _settle(self, live: RunningJob) -> None:
        self._parts.jobs.changed(live.job_id)
        if live.ending is not None:
            self._endings.conclude(live, live.ending)


def log_row(row: Row) -> None:
    """Log failed attempts and lost workers of a row."""
    happening = row.happening
    if isinstance(happening, FailureRow) and row.accepted:
        failure = happening.report.failure
        _log.warning(
            "task_failed",
            kind=failure.kind,
            reason=failure.reason if isinstance(failure, FetchFailed) else None,
            worker=happening.worker,
            **task_fields(happening.report.key),
        )
    for decision in row.decisions:
        if isinstance(decision, WorkerDown):
            _log.warning(
                "worker_down", worker=decision.worker, reason=reason_words(decision.reason)
            )


def update_wait_reasons(components: Components) -> None:
    """Set in the record of every running job why it waits, None if it does not."""
    trouble, any_up = components.loop.trouble, bool(components.registry.up())
    blocked = None if trouble is None else f"the master cannot write its journal: {trouble}"
    idle = _idle_reason(components)
    for job, live in components.jobs.live.items():
        version = live.record.version
        reason = blocked or (None if live.record.active else idle)
        update = partial(live.record.waits, reason, now=wall_s(), no_worker=not any_up)
        components.guard.run("waiting", update, job=job)
        if live.record.version != version:
            components.jobs.changed(job)


def _idle_reason(components: Components) -> str | None:
    """Return why no attempt can be launched."""
    up = components.registry.up()
    if not up:
        return "there is no worker; start one with: minispark worker"
    if all(session.full for session in up):
        full = " and ".join(sorted({session.full for session in up if session.full}))
        return f"the workers accept no more tasks: their {full} is full"
    return None
