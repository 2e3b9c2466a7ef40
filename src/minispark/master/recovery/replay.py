"""The scheduler of an earlier life, made again from the journal.

A snapshot, then every fact that came after it, applied at the time at which it was applied
first. What the scheduler decides now must be what was written then; if it is not, this is another
scheduler, and nothing it says of running jobs can be trusted.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic_core import from_json, to_json

from minispark.journal.decisions import Decision, decode_decisions, encode_command
from minispark.journal.journal import JournalEvent, Snapshot
from minispark.journal.rows import Registration, Row, event_of
from minispark.scheduler.commands import ReportAccepted, ReportDropped
from minispark.scheduler.core import Scheduler
from minispark.scheduler.snapshot import dump, load
from minispark.scheduler.version import REPLAYED_VERSIONS, SCHEDULER_VERSION
from minispark.settings import SchedulerSettings


def snapshot_of(scheduler: Scheduler, workers: list[Registration]) -> dict[str, Any]:
    """Say all that a replay begins with."""
    return {
        "settings": asdict(scheduler.settings),
        "scheduler": dump(scheduler.state),
        "workers": [worker.model_dump() for worker in workers],
    }


class Replay:
    """Begins with a snapshot and takes the rows after it; an ``empty`` journal has none.

    ``broken`` says why it had to be given up; `scheduler` and `workers` mean nothing then.
    """

    def __init__(self, snapshot: Snapshot | None, *, empty: bool) -> None:
        self.scheduler = Scheduler(SchedulerSettings())
        self.workers: dict[str, Registration] = {}
        self.now = 0.0
        self.after = 0
        self.steps = 0
        self.broken: str | None = None
        self._version = SCHEDULER_VERSION
        if snapshot is None:
            if not empty:
                self.broken = "an earlier version of Mini-Spark wrote its journal"
            return
        self.after, self.now = snapshot.seq, snapshot.now
        self._version = snapshot.version
        if snapshot.version not in REPLAYED_VERSIONS:
            self.broken = (
                f"version {snapshot.version} of the scheduler wrote its journal, "
                f"and this is version {SCHEDULER_VERSION}"
            )
            return
        try:
            self._load(from_json(snapshot.state))
        # Whatever is wrong with it: the jobs that ended must still be there.
        except Exception as error:
            self.broken = f"its snapshot cannot be read: {type(error).__name__}"

    def take(self, stored: JournalEvent, row: Row) -> None:
        """Apply one row; those before the snapshot and those that were no step do nothing."""
        if self.broken is not None or row.seq <= self.after or stored.now is None:
            return
        try:
            commands = self.scheduler.apply(event_of(row.happening), stored.now)
        # Whatever it is: the master must start, and the jobs that ended be there.
        except Exception as error:
            self.give_up(stored, error)
            return
        decided = [encode_command(command) for command in commands]
        text = to_json(decided).decode() if decided else None
        # Another release may write the same decision with more fields.
        if text != stored.commands and self._as_written(decode_decisions(text)) != row.decisions:
            self.broken = (
                f"row {row.seq} ({stored.kind}) was decided differently when it was written"
            )
            return
        if isinstance(row.happening, Registration):
            self.workers[row.happening.worker] = row.happening
        self.now = stored.now
        self.steps += 1

    def _as_written(self, decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
        """Return decisions as the version that wrote the journal would say them."""
        if self._version >= 5:
            return decisions
        return tuple(d for d in decisions if not isinstance(d, ReportAccepted | ReportDropped))

    def give_up(self, stored: JournalEvent, error: Exception) -> None:
        """Note that a row cannot be understood."""
        why = f"row {stored.seq} ({stored.kind}) cannot be replayed: {type(error).__name__}"
        self.broken = self.broken or why

    def _load(self, plain: dict[str, Any]) -> None:
        # The decisions were made under the settings of then.
        settings = SchedulerSettings(**plain["settings"])
        self.scheduler = Scheduler(settings, load(plain["scheduler"]))
        for worker in plain["workers"]:
            known = Registration.model_validate(worker)
            self.workers[known.worker] = known
