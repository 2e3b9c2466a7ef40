"""The jobs that the master knows: those at work, and the finished ones it still keeps.

Covers: finding, listing, waiting for a change, retention, idempotency keys. Does not cover:
running them (`service`).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from minispark.blocks.cache_hits import CacheHit
from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.ids import TaskKey
from minispark.journal.rows import (
    CommitRow,
    Manifest,
    PublishedRow,
    Row,
    SinkOutput,
    Submission,
    SuccessRow,
)
from minispark.master.http.http_errors import no_such_job
from minispark.master.jobs.finished_job import Ending, FinishedJob
from minispark.observe.cluster import Totals
from minispark.observe.record import JobRecord
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.plan.stages import StageGraph
from minispark.task.spec import SinkFile


@dataclass(slots=True)
class RunningJob:
    """A running job: what the master needs to act, and the record that people see."""

    record: JobRecord
    """Written by readers only."""
    directories: dict[int, Path] = field(default_factory=dict)
    """Where each sink stage writes."""
    blocks: dict[TaskKey, BlockMeta] = field(default_factory=dict)
    files: dict[TaskKey, SinkFile | None] = field(default_factory=dict)
    manifests: list[Manifest] | None = None
    """What its commit publishes, once that has begun."""
    sinks: list[SinkOutput] = field(default_factory=list)
    """What the commit published."""
    found: dict[TaskKey, CacheHit] = field(default_factory=dict)
    """What caches had of it when it came."""
    ending: Ending | None = None
    """How it ended, until what is shown of it is frozen."""

    @property
    def job_id(self) -> str:
        """Its id."""
        return self.record.job_id

    @property
    def graph(self) -> StageGraph:
        """Its plan."""
        return self.record.graph

    def kept(self, key: TaskKey, worker: str) -> TaskKey | None:
        """Return the name of a block in the cache of a worker, None if it is the job's own."""
        found = self.found.get(key)
        return found.kept if found is not None and found.worker == worker else None

    def take(self, row: Row) -> None:
        """Note what the master needs of a row to act: where blocks and files are."""
        match row.happening:
            case SuccessRow(report=report) if row.accepted:
                self.blocks[report.key] = report.block
                self.files[report.key] = report.sink
            case Submission(found=found):
                self.found = {task.key: task for task in found}
                self.blocks.update((task.key, task.meta) for task in found)
            case CommitRow(manifests=manifests):
                self.manifests = manifests
            case PublishedRow(sinks=sinks):
                self.sinks = sinks
            case _:
                pass


_ANY = ""
"""The name of no job: those who wait under it wait for all."""


class JobStore:
    """All jobs by id, in the order in which they were accepted."""

    def __init__(self, *, retained: int) -> None:
        self.live: dict[str, RunningJob] = {}
        self.archived_totals = Totals()
        """What the jobs came to that are not kept any more."""
        self._retained = retained
        self.ended: dict[str, FinishedJob] = {}
        self._order: dict[str, None] = {}
        self._keys: dict[str, str] = {}
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._closed = False
        self.change_count = 0
        """Grows with every change of any job."""

    def add(self, job: RunningJob, *, idempotency_key: str | None = None) -> None:
        """Take in a job that begins."""
        self.live[job.record.job_id] = job
        self._remember(job.record.job_id, idempotency_key)
        self.changed(job.record.job_id)

    @property
    def closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._closed

    def restore(self, outcome: FinishedJob, *, idempotency_key: str | None) -> None:
        """Take in a job that ended in an earlier life of the master."""
        self.ended[outcome.view.job_id] = outcome
        self._remember(outcome.view.job_id, idempotency_key)

    def end(self, outcome: FinishedJob) -> None:
        """Move a job to the finished ones."""
        self.live.pop(outcome.view.job_id, None)
        self.ended[outcome.view.job_id] = outcome

    def expired(self) -> list[str]:
        """Return the oldest finished jobs, beyond the number that is kept."""
        ended = [job for job in self._order if job in self.ended]
        return ended[: max(0, len(ended) - self._retained)]

    def forget(self, job: str) -> None:
        """Drop a finished job; only what it adds to the totals stays."""
        outcome = self.ended.pop(job, None)
        if outcome is not None:
            self.archived_totals = self.archived_totals.plus([(outcome.view, outcome.metrics)])
        self._order.pop(job, None)
        for key in [key for key, named in self._keys.items() if named == job]:
            del self._keys[key]
        self.changed(job)

    def by_idempotency_key(self, idempotency_key: str | None) -> str | None:
        """Return the job that was accepted under a key."""
        return None if idempotency_key is None else self._keys.get(idempotency_key)

    def ids(self) -> list[str]:
        """All jobs, newest first."""
        return list(reversed(self._order))

    def ids_after(self, after: str | None) -> list[str]:
        """All jobs after one of them, newest first.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        ids = self.ids()
        if after is None:
            return ids
        self.outcome(after)
        return ids[ids.index(after) + 1 :]

    def outcome(self, job: str) -> FinishedJob | None:
        """Return a finished job; None while it is at work.

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
        """Return what is known of the partitions of a block, of a finished job too."""
        live, outcome = self.live.get(key.job), self.ended.get(key.job)
        if live is not None:
            return list(live.blocks[key].partitions) if key in live.blocks else []
        results = () if outcome is None else outcome.results
        return [block.meta for result in results for block in result.blocks if block.key == key]

    def knows(self, job: str) -> bool:
        """Whether a job is at work or kept."""
        return job in self.live or job in self.ended

    def view(self, job: str) -> JobView:
        """How a job stands."""
        outcome = self.outcome(job)
        return self.live[job].record.view() if outcome is None else outcome.view

    def stage_rows(self, job: str) -> list[StageRow]:
        """Return a job's stage table."""
        outcome = self.outcome(job)
        return self.live[job].record.stage_rows() if outcome is None else outcome.stages

    def metrics(self, job: str, *, now: float) -> JobMetrics:
        """Return a job's figures."""
        outcome = self.outcome(job)
        return self.live[job].record.metrics(now=now) if outcome is None else outcome.metrics

    def changed(self, job: str) -> None:
        """Wake those who wait for a job, or for any."""
        self.change_count += 1
        for waiter in (*self._waiters.pop(job, ()), *self._waiters.pop(_ANY, ())):
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Wake everybody, and let nobody wait any more."""
        self._closed = True
        for job in list(self._waiters):
            self.changed(job)

    async def wait(self, job: str, *, seen: int | None, wait_s: float) -> JobView:
        """Return how a job stands once it has ended or its version is beyond ``seen``."""
        if seen is None:
            seen = self.view(job).version
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._closed and self.outcome(job) is None:
                    if self.live[job].record.version > seen:
                        break
                    await self._change_of(job)
        return self.view(job)

    async def any_change(self, *, seen: int, wait_s: float) -> int:
        """Return the turn once it is beyond ``seen``, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._closed and self.change_count == seen:
                    await self._change_of(_ANY)
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
