"""Freezes what is shown of a job that has ended, and forgets old jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Moves jobs from the running to the finished ones.

    The functions ``on_ended`` get the record of each job that has ended, once that is durable.
    """

    def __init__(
        self, components: Components, on_ended: Sequence[Callable[[JobRecord], None]]
    ) -> None:
        self._jobs = components.jobs
        self._journal = components.journal
        self._loop = components.loop
        self._guard = components.guard
        self._on_ended = on_ended

    def conclude(self, live: RunningJob, ending: Ending) -> None:
        """Freeze what is shown of a job that has ended, and write it into the journal."""
        job = live.job_id
        outcome = FinishedJob.of(live.record, ending, at=wall_s(), guard=self._guard)
        view = outcome.view
        self._jobs.end(outcome)
        at = view.finished_at or view.submitted_at
        self._journal.job_ended(job, outcome, status=view.status.value, at=at)
        self._loop.after_durable(partial(self._publish, live.record))
        error = None if view.error is None else view.error.message
        _log.info(
            "job_ended", job=job, status=view.status.value, duration_s=view.duration_s, error=error
        )
        self.retain()

    def conclude_all(self) -> None:
        """Freeze the jobs whose end an earlier master decided."""
        for live in list(self._jobs.live.values()):
            if live.ending is not None:
                self.conclude(live, live.ending)

    async def complete_all(self, history: JobHistory) -> None:
        """Fold from the journal the parts of finished jobs that this version could not read."""
        for job, outcome in list(self._jobs.ended.items()):
            if outcome.missing and self._jobs.knows(job):
                outcome.complete(await history.record(job), self._guard)

    def retain(self) -> None:
        """Forget finished jobs beyond the number that is kept."""
        for job in self._jobs.expired():
            self._loop.handle(JobReleased(job))
            self._jobs.forget(job)
            self._journal.job_forgotten(job, totals=self._jobs.archived_totals)

    def _publish(self, record: JobRecord) -> None:
        self._jobs.changed(record.job_id)
        for read in self._on_ended:
            self._guard.run("ended", partial(read, record), job=record.job_id)
