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
from functools import partial

from minispark.clock import wall_s
from minispark.journal.journal import Journal
from minispark.journal.news import News
from minispark.journal.rows import Row
from minispark.master.answers import RefusedError
from minispark.master.book import JobBook
from minispark.master.carrier import Carrier, Work
from minispark.master.diary import Diary
from minispark.master.endings import Endings
from minispark.master.figures import Figures
from minispark.master.hands import Hands
from minispark.master.history import History
from minispark.master.load import Load
from minispark.master.logins import Logins
from minispark.master.parts import Identity, Parts
from minispark.master.planners import Planners
from minispark.master.readers import JobReader, log_row
from minispark.master.registry import Registry
from minispark.master.replay import snapshot_of
from minispark.master.restore import restore
from minispark.master.settings import MasterConfig
from minispark.master.sheets import Sheets
from minispark.master.submissions import Submissions
from minispark.master.teller import Teller
from minispark.master.tracing import Tracing
from minispark.master.workers import WorkerDesk
from minispark.observe.logs import logger
from minispark.observe.traces import Traces, otlp_exporter
from minispark.plan.hashing import hash_vector
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import MasterRestarted
from minispark.scheduler.version import SCHEDULER_VERSION
from minispark.wire.http import versions

__all__ = ["Service"]

_log = logger("master")


class Service:
    """One master. `start` it on the running loop, `stop` it in the end."""

    def __init__(self, config: MasterConfig, journal: Journal, identity: Identity) -> None:
        self.failed: Callable[[], None] = lambda: None
        """Called when the master cannot go on; whoever serves it ends the process."""
        self.broken: str | None = None
        """Why the master could not go on."""
        book = JobBook(retained=config.limits.retained_jobs)
        diary = Diary(journal, lambda: list(book.live))
        carrier = Carrier(
            Scheduler(config.scheduler),
            journal,
            Work(
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
        self.parts = Parts(
            config=config,
            identity=identity,
            journal=journal,
            book=book,
            registry=Registry(identity.master_epoch),
            diary=diary,
            carrier=carrier,
        )
        self.history = History(journal, book)
        self.figures = Figures(self.parts)
        self.sheets = Sheets(self.parts, self.history)
        self.logins = Logins()
        self.load = Load(self.parts.registry)
        self._tracing: Tracing | None = None
        if config.otlp is not None:
            exporter = otlp_exporter(config.otlp)
            self._tracing = Tracing(Traces(exporter, cluster_id=identity.cluster_id))
        self._hands = Hands(self.parts)
        on_ended = None if self._tracing is None else self._tracing.ended
        self._endings = Endings(self.parts, on_ended)
        self._jobs = JobReader(self.parts, self._endings)
        self._teller = Teller(self.parts)
        self._planners = Planners(config)
        self.jobs = Submissions(self.parts, self._planners)
        self.workers = WorkerDesk(self.parts)

    async def start(self) -> None:
        """Go on where the last life ended; planner and caches get warm meanwhile."""
        shutil.rmtree(self.config.spool_dir, ignore_errors=True)
        self.config.spool_dir.mkdir(mode=0o700, parents=True)
        todo = restore(self.parts)
        carrier = self.parts.carrier
        carrier.start()
        carrier.snapshot()
        carrier.feed(MasterRestarted(self.parts.identity.attempts))
        if self.parts.journal.loss is not None:
            self._note("journal_damaged", str(self.parts.journal.loss))
        for step in todo:
            step()
        self._endings.conclude_all()
        self._endings.retain()
        self.parts.tell_waiting()
        self.parts.aside(self._planners.start())
        self.parts.aside(self._endings.complete_all(self.history))
        self.parts.aside(self.load.watch())
        if self._tracing is not None:
            self.parts.aside(self._tracing.run())
        versions()
        await asyncio.to_thread(hash_vector)

    async def stop(self) -> None:
        """Let go of everybody who waits, end the planner, write what is to be written."""
        self.release_polls()
        self.parts.carrier.stop()
        if self._tracing is not None:
            await self._tracing.close()
        background = list(self.parts.background)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._planners.close()
        if self.broken is None:
            with contextlib.suppress(RefusedError, TimeoutError):
                async with asyncio.timeout(self.config.journal.close_s):
                    await self.parts.carrier.durable()
            self._note("stopped", "the master was stopped")
            self.parts.carrier.snapshot()
        if not await asyncio.to_thread(self.parts.journal.close):
            _log.error("journal_not_written", reason=self.parts.carrier.trouble)

    def release_polls(self) -> None:
        """Answer everybody who waits, and let nobody wait any more."""
        self.parts.book.close()
        for entry in self.parts.registry.all():
            entry.outbox.close()

    def _snapshot(self, now: float) -> None:
        workers = [entry.known for entry in self.parts.registry.all()]
        self.parts.journal.snapshot(
            snapshot_of(self.parts.scheduler, workers),
            version=SCHEDULER_VERSION,
            now=now,
            at=wall_s(),
        )

    def _tell_trouble(self) -> None:
        trouble = self.parts.carrier.trouble
        if trouble is None:
            _log.info("journal_written_again")
            self._note("journal_back", "the journal can be written again")
        else:
            _log.error("journal_cannot_be_written", reason=trouble)
            self._note("journal_trouble", f"the journal cannot be written: {trouble}")
        self.parts.tell_waiting()

    def _note(self, kind: str, said: str) -> None:
        self.parts.journal.news([News("master", kind, said)], at=wall_s())

    def _read(self, row: Row) -> None:
        """Show a row to those who watch, the news first: they say what was before."""
        run = self.parts.guard.run
        run("log", partial(log_row, row), row=row.seq)
        run("news", partial(self._teller.apply, row), row=row.seq)
        if not run("jobs", partial(self._jobs.apply, row), row=row.seq):
            self._jobs.recover(row)

    def _give_up(self) -> None:
        failure = self.parts.journal.failure
        self.broken = f"its journal cannot be written: {failure}" if failure else "see its log"
        _log.error("master_cannot_go_on", reason=self.broken)
        self.failed()
