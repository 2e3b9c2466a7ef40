"""The objects that the modules of one master share."""

from __future__ import annotations

from dataclasses import dataclass, field

from minispark.journal.journal import Journal
from minispark.master.control.journal_writer import JournalWriter
from minispark.master.control.registry import Registry
from minispark.master.control.scheduler_loop import SchedulerLoop
from minispark.master.jobs.job_store import JobStore
from minispark.master.settings import MasterConfig
from minispark.observe.projection import ReaderGuard
from minispark.scheduler.core import Scheduler


@dataclass(frozen=True, slots=True)
class Identity:
    """The id of a cluster, and the epoch of its master."""

    cluster_id: str
    master_epoch: int
    attempts: int = 0
    """First attempt number of this master; above 0 where earlier launches may be unknown."""


@dataclass(frozen=True, slots=True)
class Components:
    """The shared objects of one master; all of them belong to its event loop."""

    config: MasterConfig
    identity: Identity
    journal: Journal
    jobs: JobStore
    registry: Registry
    journal_writer: JournalWriter
    loop: SchedulerLoop
    guard: ReaderGuard = field(default_factory=ReaderGuard)
    """Runs the readers of the journal."""

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of this master."""
        return self.loop.scheduler
