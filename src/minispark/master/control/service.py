"""The master without HTTP: its parts put together, and their beginning and end.

::

    api, internal ──> submissions, workers ──> carrier ──> scheduler
                             │                    │ commands, once durable
                             └──> book, registry <── hands
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
from minispark.master.http.http_errors import RefusedError
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
from minispark.master.views.job_reader import JobReader, log_row
from minispark.master.views.load_history import LoadHistory
from minispark.master.views.metrics import MetricsView
from minispark.master.views.tracing import Tracing
from minispark.observe.traces import Traces, otlp_exporter
from minispark.plan.hashing import hash_vector
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import MasterRestarted
from minispark.scheduler.version import SCHEDULER_VERSION
from minispark.wire.http import versions

_log = logger("master")


class Service:
    """One master. `start` it on the running loop, `stop` it in the end."""

    def __init__(self, config: MasterConfig, journal: Journal, identity: Identity) -> None:
        self.failed: Callable[[], None] = lambda: None
        """Called when the master cannot go on; whoever serves it ends the process."""
        self.broken: str | None = None
        """Why the master could not go on."""
        book = JobStore(retained=config.limits.retained_jobs)
        diary = JournalWriter(journal, lambda: list(book.live))
        carrier = SchedulerLoop(
            Scheduler(config.scheduler),
            journal,
            LoopCallbacks(
                append=diary.step,
                snapshot=self._snapshot,
                carry_out=lambda row, commands: self._hands.carry_out(row, commands),
                read=self._read,
                on_failure=self._give_up,
                on_trouble=self._tell_trouble,
            ),
            snapshot_steps=config.journal.snapshot_steps,
        )
        self.config = config
        self.components = Components(
            config=config,
            identity=identity,
            journal=journal,
            jobs=book,
            registry=Registry(identity.master_epoch),
            journal_writer=diary,
            loop=carrier,
        )
        self.history = JobHistory(journal, book)
        self.figures = MetricsView(self.components)
        self.sheets = JobPages(self.components, self.history)
        self.logins = Logins()
        self.load = LoadHistory(self.components.registry)
        self._tracing: Tracing | None = None
        if config.otlp is not None:
            exporter = otlp_exporter(config.otlp)
            self._tracing = Tracing(Traces(exporter, cluster_id=identity.cluster_id))
        self._hands = CommandDispatcher(self.components)
        on_ended = None if self._tracing is None else self._tracing.ended
        self._endings = JobArchiver(self.components, on_ended)
        self._jobs = JobReader(self.components, self._endings)
        self._teller = EventPublisher(self.components)
        self._planners = PlannerPool(config)
        self.jobs = Submissions(self.components, self._planners)
        self.workers = WorkerService(self.components)

    async def start(self) -> None:
        """Go on where the last life ended; planner and caches get warm meanwhile."""
        shutil.rmtree(self.config.spool_dir, ignore_errors=True)
        self.config.spool_dir.mkdir(mode=0o700, parents=True)
        todo = restore(self.components)
        carrier = self.components.loop
        carrier.start()
        carrier.snapshot()
        carrier.handle(MasterRestarted(self.components.identity.attempts))
        if self.components.journal.loss is not None:
            self._note("journal_damaged", str(self.components.journal.loss))
        for step in todo:
            step()
        self._endings.conclude_all()
        self._endings.retain()
        self.components.update_wait_reasons()
        self.components.spawn(self._planners.start())
        self.components.spawn(self._endings.complete_all(self.history))
        self.components.spawn(self.load.watch())
        if self._tracing is not None:
            self.components.spawn(self._tracing.run())
        versions()
        await asyncio.to_thread(hash_vector)

    async def stop(self) -> None:
        """Let go of everybody who waits, end the planner, write what is to be written."""
        self.release_polls()
        self.components.loop.stop()
        if self._tracing is not None:
            await self._tracing.close()
        background = list(self.components.background)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._planners.close()
        if self.broken is None:
            with contextlib.suppress(RefusedError, TimeoutError):
                async with asyncio.timeout(self.config.journal.close_s):
                    await self.components.loop.durable()
            self._note("stopped", "the master was stopped")
            self.components.loop.snapshot()
        if not await asyncio.to_thread(self.components.journal.close):
            _log.error("journal_not_written", reason=self.components.loop.trouble)

    def release_polls(self) -> None:
        """Answer everybody who waits, and let nobody wait any more."""
        self.components.jobs.close()
        for entry in self.components.registry.all():
            entry.outbox.close()

    def _snapshot(self, now: float) -> None:
        workers = [entry.known for entry in self.components.registry.all()]
        self.components.journal.snapshot(
            snapshot_of(self.components.scheduler, workers),
            version=SCHEDULER_VERSION,
            now=now,
            at=wall_s(),
        )

    def _tell_trouble(self) -> None:
        trouble = self.components.loop.trouble
        if trouble is None:
            _log.info("journal_written_again")
            self._note("journal_back", "the journal can be written again")
        else:
            _log.error("journal_cannot_be_written", reason=trouble)
            self._note("journal_trouble", f"the journal cannot be written: {trouble}")
        self.components.update_wait_reasons()

    def _note(self, kind: str, said: str) -> None:
        self.components.journal.news([ClusterEvent("master", kind, said)], at=wall_s())

    def _read(self, row: Row) -> None:
        """Show a row to those who watch, the news first: they say what was before."""
        run = self.components.guard.run
        run("log", log_row, row, row=row.seq)
        run("news", self._teller.apply, row, row=row.seq)
        if not run("jobs", self._jobs.apply, row, row=row.seq):
            self._jobs.recover(row)

    def _give_up(self) -> None:
        failure = self.components.journal.failure
        self.broken = f"its journal cannot be written: {failure}" if failure else "see its log"
        _log.error("master_cannot_go_on", reason=self.broken)
        self.failed()
