"""What the parts of the master share: its books, the loop around the scheduler, side work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from minispark.blocks.cache_hits import CacheHit, find_cached
from minispark.blocks.meta import BlockMeta
from minispark.clock import wall_s
from minispark.errors import Failure, FetchFailed
from minispark.ids import TaskKey
from minispark.journal.journal import Journal
from minispark.logs import logger
from minispark.master.control.journal_writer import JournalWriter
from minispark.master.control.registry import Registry
from minispark.master.control.scheduler_loop import SchedulerLoop
from minispark.master.jobs.job_store import JobStore, RunningJob
from minispark.master.settings import MasterConfig
from minispark.observe.guard import ReaderGuard
from minispark.plan.stages import StageGraph
from minispark.scheduler.core import Scheduler

_log = logger("master")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which cluster, and which life of its master."""

    cluster_id: str
    master_epoch: int
    attempts: int = 0
    """From where on it numbers attempts; not 0 if it may not know of all launches."""


@dataclass(slots=True)
class Components:
    """The master's books, all on one event loop."""

    config: MasterConfig
    identity: Identity
    journal: Journal
    jobs: JobStore
    registry: Registry
    journal_writer: JournalWriter
    loop: SchedulerLoop
    background: set[asyncio.Task[None]] = field(default_factory=set)
    guard: ReaderGuard = field(default_factory=ReaderGuard)
    """Runs those who only watch."""

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of this life."""
        return self.loop.scheduler

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that takes a while, beside the loop; its failure is logged."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self._done)

    def find_cached(self, graph: StageGraph, job: str) -> tuple[CacheHit, ...]:
        """Look into the caches of the workers that take work for what a job need not compute."""
        status = {worker.worker: worker.status for worker in self.scheduler.worker_status()}
        up = [entry for entry in self.registry.all() if status.get(entry.worker_id) == "UP"]

        def find(name: TaskKey) -> tuple[str, BlockMeta] | None:
            there = (entry for entry in up if name in entry.cached_blocks)
            return next(((entry.worker_id, entry.cached_blocks[name]) for entry in there), None)

        return find_cached(graph, job, find)

    def use_cached(self, found: Iterable[CacheHit]) -> None:
        """Tell workers what of their caches a job begins with."""
        for task in found:
            entry = self.registry.get(task.worker)
            if entry is not None:
                entry.outbox.use_kept(task.kept.block_id)

    def drop_cached(self, live: RunningJob, gone: Failure) -> None:
        """Have a block of a cache dropped that could not be read: no other job shall try."""
        if not isinstance(gone, FetchFailed):
            return
        found = live.found.get(gone.key)
        entry = None if found is None else self.registry.get(found.worker)
        if found is not None and entry is not None and found.kept in entry.cached_blocks:
            del entry.cached_blocks[found.kept]
            entry.outbox.drop_kept(found.kept.block_id)

    def update_wait_reasons(self) -> None:
        """Let every job at work say why it waits, if it has to."""
        nobody = not self.registry.any_up
        blocked, full = self._why_nothing_goes_on(), self._why_nothing_begins()
        for job, live in self.jobs.live.items():
            before = live.record.version
            why = blocked or (None if live.record.active else full)
            # Only shown: nothing that was asked for fails by it.
            say = partial(live.record.waits, why, now=wall_s(), no_worker=nobody)
            self.guard.run("waiting", say, job=job)
            if live.record.version != before:
                self.jobs.changed(job)

    def _why_nothing_goes_on(self) -> str | None:
        if self.loop.trouble is not None:
            return f"the master cannot write its journal: {self.loop.trouble}"
        return None

    def _why_nothing_begins(self) -> str | None:
        up = self.registry.up()
        if not up:
            return "there is no worker; start one with: minispark worker"
        if all(entry.full for entry in up):
            what = " and ".join(sorted({entry.full for entry in up if entry.full}))
            return f"the workers take no more work: their {what} is full"
        return None

    def _done(self, task: asyncio.Task[None]) -> None:
        self.background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("background_work_failed", exc_info=task.exception())
