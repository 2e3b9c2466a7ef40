"""What becomes of a job that has ended: what is shown of it is frozen, old jobs are let go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from minispark.clock import wall_s
from minispark.logs import logger
from minispark.master.control.components import Components
from minispark.master.jobs.finished_job import Ending, FinishedJob
from minispark.master.jobs.job_store import RunningJob
from minispark.master.recovery.history import JobHistory
from minispark.observe.record import JobRecord
from minispark.scheduler.events import JobReleased

_log = logger("master")


class JobArchiver:
    """Moves jobs from the running to the finished ones."""

    def __init__(self, parts: Components, on_ended: Callable[[JobRecord], None] | None) -> None:
        self._parts = parts
        self._on_ended = on_ended
        """Gets the record of each job that has ended, once that is durable."""

    def conclude(self, live: RunningJob, ending: Ending) -> None:
        """Freeze what is shown of a job that has ended, and write it down."""
        parts, job = self._parts, live.job_id
        outcome = FinishedJob.of(live.record, ending, at=wall_s(), guard=parts.guard)
        view = outcome.view
        parts.jobs.end(outcome)
        at = view.finished_at or view.submitted_at
        parts.journal.job_ended(job, outcome, status=view.status.value, at=at)
        parts.loop.after_durable(partial(self._ended, live.record))
        _log.info(
            "job_ended",
            job=job,
            status=view.status.value,
            duration_s=view.duration_s,
            error=None if view.error is None else view.error.message,
        )
        self.retain()

    def conclude_all(self) -> None:
        """Freeze the jobs whose end an earlier life of the master had decided."""
        for live in list(self._parts.jobs.live.values()):
            if live.ending is not None:
                self.conclude(live, live.ending)

    async def complete_all(self, history: JobHistory) -> None:
        """Fold from the journal what this version could not read of finished jobs."""
        for job, outcome in list(self._parts.jobs.ended.items()):
            if outcome.missing and self._parts.jobs.knows(job):
                outcome.complete(await history.record(job), self._parts.guard)

    def retain(self) -> None:
        """Let go of finished jobs beyond the number that is kept."""
        parts = self._parts
        for job in parts.jobs.expired():
            parts.loop.handle(JobReleased(job))
            parts.jobs.forget(job)
            parts.journal.job_forgotten(job, totals=parts.jobs.archived_totals)

    def _ended(self, record: JobRecord) -> None:
        self._parts.jobs.changed(record.job_id)
        if self._on_ended is not None:
            self._parts.guard.run("traces", partial(self._on_ended, record), job=record.job_id)
