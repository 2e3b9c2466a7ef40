"""The replay: the scheduler of an earlier master, restored from the journal.

It loads a snapshot and applies every later fact at its original time. The scheduler must decide
the same as before. If it does not, its state of the running jobs cannot be trusted.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic_core import from_json, to_json

from minispark.journal.decisions import (
    Decision,
    decisions_of,
    decode_decisions,
    encode_command,
    without_reason,
)
from minispark.journal.journal import JournalEvent, Snapshot
from minispark.journal.rows import Happening, Registration, Row, event_of, happening_of
from minispark.scheduler.commands import ReportAccepted, ReportDropped
from minispark.scheduler.core import Scheduler
from minispark.scheduler.snapshot import REPLAYED_VERSIONS, SCHEDULER_VERSION, dump, load
from minispark.settings import SchedulerSettings


def snapshot_of(scheduler: Scheduler, workers: list[Registration]) -> dict[str, Any]:
    """Return the snapshot from which a replay starts."""
    return {
        "settings": asdict(scheduler.settings),
        "scheduler": dump(scheduler.state),
        "workers": [worker.model_dump() for worker in workers],
    }


class Replay:
    """A scheduler and its workers, from a snapshot and the rows after it.

    An ``empty`` journal needs no snapshot. ``broken`` is why the replay has failed; then
    ``scheduler`` and ``workers`` have no meaning.
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
        # After any error the master must still start with the ended jobs.
        except Exception as error:
            self.broken = f"its snapshot cannot be read: {type(error).__name__}"

    def read(self, stored: JournalEvent) -> Row:
        """Read one row, and apply it if it is a step after the snapshot.

        Raises
        ------
        ValueError
            This version cannot read the row.
        """
        happening = happening_of(stored)
        decisions = None
        if self.broken is None and stored.seq > self.after and stored.now is not None:
            decisions = self._apply(stored, happening, stored.now)
        if decisions is None:
            decisions = decode_decisions(stored.commands)
        return Row.of(stored, happening, decisions)

    def _apply(
        self, stored: JournalEvent, happening: Happening, now: float
    ) -> tuple[Decision, ...] | None:
        """Apply a row; return the decisions, None if they differ from those in the journal."""
        try:
            commands = self.scheduler.apply(event_of(happening), now)
        # After any error the master must still start with the ended jobs.
        except Exception as error:
            self.give_up(stored, error)
            return None
        text = to_json(list(map(encode_command, commands))).decode() if commands else None
        # Another release may write the same decision with other fields.
        if text != stored.commands and self._differ(text, stored.commands):
            name = f"row {stored.seq} ({stored.kind})"
            self.broken = f"{name} was decided differently when it was written"
            return None
        if isinstance(happening, Registration):
            self.workers[happening.worker] = happening
        self.now = now
        self.steps += 1
        return decisions_of(commands)

    def _differ(self, text: str | None, stored: str | None) -> bool:
        """Whether decisions differ in the parts that the version of the journal has."""
        now, then = decode_decisions(text), decode_decisions(stored)
        if self._version >= 5:
            return now != then
        decisions = (d for d in now if not isinstance(d, ReportAccepted | ReportDropped))
        return list(map(without_reason, decisions)) != list(map(without_reason, then))

    def give_up(self, stored: JournalEvent, error: Exception) -> None:
        """Note that a row cannot be replayed."""
        why = f"row {stored.seq} ({stored.kind}) cannot be replayed: {type(error).__name__}"
        self.broken = self.broken or why

    def _load(self, plain: dict[str, Any]) -> None:
        # The decisions were made with the settings of that time.
        settings = SchedulerSettings(**plain["settings"])
        self.scheduler = Scheduler(settings, load(plain["scheduler"]))
        for worker in plain["workers"]:
            registration = Registration.model_validate(worker)
            self.workers[registration.worker] = registration
