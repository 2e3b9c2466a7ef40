"""The master without HTTP: its parts put together, its start and its end.

::

    http routes ──> Submissions, WorkerService ──> SchedulerLoop ──> Scheduler
                           │                            │ commands, once durable
                           └──> JobStore, Registry <── CommandDispatcher
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable

from minispark.clock import wall_s
from minispark.journal.cluster_event import ClusterEvent
from minispark.journal.journal import Journal
from minispark.journal.rows import Row
from minispark.logs import logger
from minispark.master.control.components import Components, Identity
from minispark.master.control.dispatch import CommandDispatcher
from minispark.master.control.journal_writer import JournalWriter
from minispark.master.control.registry import Registry
from minispark.master.control.scheduler_loop import LoopCallbacks, SchedulerLoop
from minispark.master.control.worker_service import WorkerService
from minispark.master.http.logins import Logins
from minispark.master.jobs.archiver import JobArchiver
from minispark.master.jobs.job_store import JobStore
from minispark.master.jobs.planner_pool import PlannerPool
from minispark.master.jobs.submissions import Submissions
from minispark.master.recovery.history import JobHistory
from minispark.master.recovery.replay import snapshot_of
from minispark.master.recovery.restore import restore
from minispark.master.settings import MasterConfig
from minispark.master.views.cluster_events import EventPublisher
from minispark.master.views.job_pages import JobPages
from minispark.master.views.job_reader import JobReader, log_row, update_wait_reasons
from minispark.master.views.load_history import LoadHistory
from minispark.master.views.metrics import MetricsView
from minispark.master.views.recent_attempts import RecentAttempts
from minispark.master.views.tracing import Tracing
from minispark.master.views.worker_logs import WorkerLogs
from minispark.observe.traces import Traces, otlp_exporter
from minispark.plan.hashing import hash_vector
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import MasterRestarted
from minispark.scheduler.snapshot import SCHEDULER_VERSION
from minispark.wire.http import RefusedError, versions

_log = logger("master")


class Service:
    """One master. Call `start` on the running event loop, and `stop` in the end."""

    def __init__(self, config: MasterConfig, journal: Journal, identity: Identity) -> None:
        self.on_broken: Callable[[], None] = lambda: None
        """Called when the master cannot go on: it ends the process."""
        self.broken: str | None = None
        """Why the master cannot go on."""
        jobs = JobStore(retained=config.limits.retained_jobs)
        writer, steps = JournalWriter(journal, jobs.live.keys), config.journal.snapshot_steps
        loop = SchedulerLoop(Scheduler(config.scheduler), journal, writer, snapshot_steps=steps)
        registry = Registry(identity.master_epoch)
        jobs.slots = registry.slots_up
        components = Components(config, identity, journal, jobs, registry, writer, loop)
        self.config = config
        self.components = components
        self.history = JobHistory(journal, jobs)
        self.metrics = MetricsView(components)
        self.job_pages = JobPages(components, self.history)
        self.logins = Logins()
        self.load_history = LoadHistory(registry, jobs)
        self.worker_logs = WorkerLogs(registry, config.token, config.trusted)
        self._tracing: Tracing | None = None
        if config.otlp is not None:
            exporter = otlp_exporter(config.otlp)
            self._tracing = Tracing(Traces(exporter, cluster_id=identity.cluster_id))
        self.recent_attempts = RecentAttempts(jobs)
        on_ended = [self.recent_attempts.ended]
        if self._tracing is not None:
            on_ended.append(self._tracing.ended)
        self._archiver = JobArchiver(components, on_ended)
        self._job_reader = JobReader(components, self._archiver)
        self._event_publisher = EventPublisher(components)
        self._planner_pool = PlannerPool(config)
        self.submissions = Submissions(components, self._planner_pool)
        self.workers = WorkerService(components)

    async def start(self) -> None:
        """Continue where the last master ended; planner and caches get warm meanwhile."""
        components, loop = self.components, self.components.loop
        shutil.rmtree(self.config.spool_dir, ignore_errors=True)
        self.config.spool_dir.mkdir(mode=0o700, parents=True)
        unfinished = restore(components)
        loop.start(
            LoopCallbacks(
                snapshot=self._snapshot,
                carry_out=CommandDispatcher(components).carry_out,
                read=self._read,
                on_failure=self._give_up,
                on_trouble=self._on_trouble,
            )
        )
        loop.snapshot()
        loop.handle(MasterRestarted(components.identity.attempts))
        if components.journal.loss is not None:
            self._publish_event("journal_damaged", str(components.journal.loss))
        for action in unfinished:
            action()
        self._archiver.conclude_all()
        self._archiver.retain()
        update_wait_reasons(components)
        loop.spawn(self._planner_pool.start())
        loop.spawn(self._archiver.complete_all(self.history))
        loop.spawn(self.load_history.watch())
        if self._tracing is not None:
            loop.spawn(self._tracing.run())
        versions()
        await asyncio.to_thread(hash_vector)

    async def stop(self) -> None:
        """Answer open requests, end the planners, write what is not written yet."""
        journal, loop = self.components.journal, self.components.loop
        self.release_polls()
        loop.stop()
        if self._tracing is not None:
            await self._tracing.close()
        background = list(loop.background)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._planner_pool.close()
        if self.broken is None:
            with contextlib.suppress(RefusedError, TimeoutError):
                async with asyncio.timeout(self.config.journal.close_s):
                    await loop.durable()
            self._publish_event("stopped", "the master was stopped")
            loop.snapshot()
        if not await asyncio.to_thread(journal.close):
            _log.error("journal_not_written", reason=loop.trouble)

    def release_polls(self) -> None:
        """Answer all open polls; later ones are answered at once."""
        self.components.jobs.close()
        for session in self.components.registry.all():
            session.outbox.close()

    def _snapshot(self, now: float) -> None:
        workers = [session.registration for session in self.components.registry.all()]
        state = snapshot_of(self.components.scheduler, workers)
        self.components.journal.snapshot(state, version=SCHEDULER_VERSION, now=now, at=wall_s())

    def _on_trouble(self) -> None:
        trouble = self.components.loop.trouble
        if trouble is None:
            _log.info("journal_written_again")
            self._publish_event("journal_back", "the journal can be written again")
        else:
            _log.error("journal_cannot_be_written", reason=trouble)
            self._publish_event("journal_trouble", f"the journal cannot be written: {trouble}")
        update_wait_reasons(self.components)

    def _publish_event(self, kind: str, sentence: str) -> None:
        self.components.journal.news([ClusterEvent("master", kind, sentence)], at=wall_s())

    def _read(self, row: Row) -> None:
        """Give a row to the readers; cluster events first, because they say what was before."""
        run = self.components.guard.run
        run("log", log_row, row, row=row.seq)
        run("news", self._event_publisher.apply, row, row=row.seq)
        if not run("jobs", self._job_reader.apply, row, row=row.seq):
            self._job_reader.recover(row)

    def _give_up(self) -> None:
        failure = self.components.journal.failure
        self.broken = f"its journal cannot be written: {failure}" if failure else "see its log"
        _log.error("master_cannot_go_on", reason=self.broken)
        self.on_broken()
