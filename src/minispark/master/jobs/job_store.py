"""The jobs that the master knows: running ones, and the finished ones that it still keeps.

Covers: finding, listing, waiting for a change, retention, idempotency keys. Does not cover:
running them (`control`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from minispark.blocks.cache_hits import CacheHit
from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.clock import wall_s
from minispark.errors import ErrorInfo
from minispark.ids import TaskKey
from minispark.journal import rows
from minispark.master.jobs.finished_job import Ending, FinishedJob
from minispark.observe.cluster import Totals
from minispark.observe.job_list import JOB_COLUMNS
from minispark.observe.listing import ListPage, ListQuery, select
from minispark.observe.live_progress import LiveProgress
from minispark.observe.record import JobRecord
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.plan.stages import StageGraph
from minispark.printable import did_you_mean
from minispark.task.spec import SinkFile, TaskProgress
from minispark.wire.http import RefusedError

_COMPARED_IDS = 50
"""Ids that an unknown one is compared with: each costs 0.05 ms, and any caller may ask."""
_ID_CHARS = 40
_ANY_JOB = ""
"""No job has this id: futures under it wait for a change of any job."""


@dataclass(slots=True)
class RunningJob:
    """A running job: what the master needs to act, and the record that people see."""

    record: JobRecord
    """Written by readers of the journal only."""
    directories: dict[int, Path] = field(default_factory=dict)
    """Output directory of each sink stage."""
    blocks: dict[TaskKey, BlockMeta] = field(default_factory=dict)
    files: dict[TaskKey, SinkFile | None] = field(default_factory=dict)
    manifests: list[rows.Manifest] | None = None
    """Files that its commit publishes, None before the commit begins."""
    sinks: list[rows.SinkOutput] = field(default_factory=list)
    """Files that its commit has published."""
    cache_hits: dict[TaskKey, CacheHit] = field(default_factory=dict)
    """Its cached blocks, as they were when it was submitted."""
    ending: Ending | None = None
    """How it ended, until its record is frozen."""
    progress: LiveProgress = field(default_factory=LiveProgress)
    """What its running attempts have read so far."""

    @property
    def job_id(self) -> str:
        """Id of the job."""
        return self.record.job_id

    @property
    def version(self) -> int:
        """The version of its view."""
        return self.record.version + self.progress.version

    @property
    def graph(self) -> StageGraph:
        """Plan of the job."""
        return self.record.graph

    def cached_name(self, key: TaskKey, worker: str) -> TaskKey | None:
        """Return the name of a block in a worker's cache, None if it is not from there."""
        hit = self.cache_hits.get(key)
        return hit.kept if hit is not None and hit.worker == worker else None

    def take(self, row: rows.Row) -> None:
        """Note what the master needs of a row to act: where blocks and files are."""
        match row.happening:
            case rows.SuccessRow(report=report) if row.accepted:
                self.blocks[report.key] = report.block
                self.files[report.key] = report.sink
            case rows.Submission(found=hits):
                self.cache_hits = {hit.key: hit for hit in hits}
                self.blocks.update((hit.key, hit.meta) for hit in hits)
            case rows.CommitRow(manifests=manifests):
                self.manifests = manifests
            case rows.PublishedRow(sinks=sinks):
                self.sinks = sinks
            case _:
                pass


class JobStore:
    """All jobs by id, in the order in which they were accepted."""

    def __init__(self, *, retained: int) -> None:
        self.live: dict[str, RunningJob] = {}
        self.ended: dict[str, FinishedJob] = {}
        self.archived_totals = Totals()
        """Sums over finished jobs that are not kept any more."""
        self.change_count = 0
        """Grows with every change of any job."""
        self.slots: Callable[[], int] = lambda: 0
        """Returns the slots of the workers that are UP."""
        self.closed = False
        """Whether waiting has ended for good."""
        self._retained = retained
        self._order: dict[str, None] = {}
        self._keys: dict[str, str] = {}
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    def add(self, job: RunningJob, *, idempotency_key: str | None = None) -> None:
        """Add a running job."""
        self.live[job.job_id] = job
        self._remember(job.job_id, idempotency_key)
        self.changed(job.job_id)

    def restore(self, outcome: FinishedJob, *, idempotency_key: str | None) -> None:
        """Add a job that ended before the master was started."""
        self.ended[outcome.view.job_id] = outcome
        self._remember(outcome.view.job_id, idempotency_key)

    def end(self, outcome: FinishedJob) -> None:
        """Move a running job to the finished ones."""
        self.live.pop(outcome.view.job_id, None)
        self.ended[outcome.view.job_id] = outcome

    def expired(self) -> list[str]:
        """Return the oldest finished jobs, beyond the number that is kept."""
        ended = [job for job in self._order if job in self.ended]
        return ended[: max(0, len(ended) - self._retained)]

    def forget(self, job: str) -> None:
        """Drop a finished job; only its share of the totals stays."""
        outcome = self.ended.pop(job, None)
        if outcome is not None:
            self.archived_totals = self.archived_totals.plus([(outcome.view, outcome.metrics)])
        self._order.pop(job, None)
        self._keys = {key: other for key, other in self._keys.items() if other != job}
        self.changed(job)

    def by_idempotency_key(self, idempotency_key: str) -> str | None:
        """Return the job that was accepted under a key."""
        return self._keys.get(idempotency_key)

    def ids(self, after: str | None = None) -> list[str]:
        """Return the ids of all jobs, or of those after one of them, newest first.

        Raises
        ------
        RefusedError
            There is no job ``after``.
        """
        ids = list(reversed(self._order))
        if after is None:
            return ids
        self.outcome(after)
        return ids[ids.index(after) + 1 :]

    def page(self, query: ListQuery) -> ListPage[JobView]:
        """Return a page of the list of jobs, newest first if the query has no order.

        Raises
        ------
        RefusedError
            There is no job ``query.after``.
        """
        ids = self.ids(query.after)
        if query.selects:
            return select(map(self.view, self.ids()), query, JOB_COLUMNS)
        # Usual, and much cheaper: only the jobs of the page are looked at.
        shown = ids[: query.limit]
        after = shown[-1] if len(ids) > query.limit else None
        return ListPage([self.view(job) for job in shown], after, len(self._order))

    def outcome(self, job: str) -> FinishedJob | None:
        """Return a finished job; None while it runs.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        if job in self.live:
            return None
        if job not in self.ended:
            raise no_such_job(job, reversed(self._order))
        return self.ended[job]

    def partitions(self, key: TaskKey) -> list[PartitionMeta]:
        """Return the known partitions of a block, of a finished job too."""
        live, outcome = self.live.get(key.job), self.ended.get(key.job)
        if live is not None:
            return list(live.blocks[key].partitions) if key in live.blocks else []
        results = () if outcome is None else outcome.results
        return [block.meta for result in results for block in result.blocks if block.key == key]

    def knows(self, job: str) -> bool:
        """Whether a job runs or is kept."""
        return job in self.live or job in self.ended

    def view(self, job: str) -> JobView:
        """Return the status of a job."""
        outcome = self.outcome(job)
        if outcome is not None:
            return outcome.view
        live = self.live[job]
        return live.progress.view(live.record, slots=self.slots(), now=wall_s())

    def note_progress(self, worker: str, progress: Iterable[TaskProgress]) -> None:
        """Take what a worker says of its running attempts."""
        by_job: dict[str, list[TaskProgress]] = {}
        for each in progress:
            by_job.setdefault(each.key.job, []).append(each)
        now = wall_s()
        for job, live in self.live.items():
            entries = by_job.get(job, ())
            if (entries or live.progress.has(worker)) and live.progress.update(
                worker, entries, now=now
            ):
                self.changed(job)

    def stage_rows(self, job: str) -> list[StageRow]:
        """Return the stage table of a job."""
        outcome = self.outcome(job)
        return self.live[job].record.stage_rows() if outcome is None else outcome.stages

    def metrics(self, job: str, *, now: float) -> JobMetrics:
        """Return the metrics of a job."""
        outcome = self.outcome(job)
        return self.live[job].record.metrics(now=now) if outcome is None else outcome.metrics

    def changed(self, job: str) -> None:
        """Wake the requests that wait for a job, or for any job."""
        self.change_count += 1
        for waiter in (*self._waiters.pop(job, ()), *self._waiters.pop(_ANY_JOB, ())):
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Wake all requests; no later one waits."""
        self.closed = True
        for job in list(self._waiters):
            self.changed(job)

    async def wait(self, job: str, *, seen: int | None, wait_s: float) -> JobView:
        """Return the status of a job once it has ended or its version is beyond ``seen``."""
        if seen is None:
            seen = self.view(job).version
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self.closed and self.outcome(job) is None:
                    if self.live[job].version > seen:
                        break
                    await self._change_of(job)
        return self.view(job)

    async def any_change(self, *, seen: int, wait_s: float) -> int:
        """Return `change_count` once it is not ``seen`` any more, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self.closed and self.change_count == seen:
                    await self._change_of(_ANY_JOB)
        return self.change_count

    async def _change_of(self, job: str) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(job, set()).add(waiter)
        try:
            await waiter
        finally:
            waiters = self._waiters.get(job)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[job]

    def _remember(self, job: str, idempotency_key: str | None) -> None:
        self._order[job] = None
        if idempotency_key is not None:
            self._keys[idempotency_key] = job


def no_such_job(job: str, ids: Iterable[str] = ()) -> RefusedError:
    """Return the error for an unknown job; ``ids`` are existing ones, the likeliest first."""
    suggestion = did_you_mean(job[:_ID_CHARS], islice(ids, _COMPARED_IDS))
    hint = suggestion or "Completed jobs are kept for a limited time; minispark jobs lists them."
    return RefusedError(404, ErrorInfo("MS-140", f"there is no job {job[:100]!r}", hint=hint))
