"""The scheduler of an earlier life, made again from the journal.

Every fact is applied again at the time at which it was applied first. What the scheduler decides
now must be what was written then; if it is not, this is another scheduler, and nothing it says of
running jobs can be trusted.
"""

from __future__ import annotations

from pydantic_core import to_json

from minispark.master.rows import Registration, Said, decision, event_of
from minispark.observe.journal import JournalEvent
from minispark.scheduler.core import Scheduler
from minispark.settings import SchedulerSettings

__all__ = ["Replay"]


class Replay:
    """Takes the rows of a journal.

    ``broken`` says why it had to be given up; `scheduler` and `workers` mean nothing then.
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self.scheduler = Scheduler(settings)
        self.workers: dict[str, Registration] = {}
        self.now = 0.0
        self.steps = 0
        self.broken: str | None = None

    def take(self, row: JournalEvent, said: Said | None) -> None:
        """Apply one row, of which ``said`` was read; those that were no step do nothing."""
        if self.broken is not None or row.now is None:
            return
        try:
            commands = self.scheduler.apply(event_of(row, said), row.now)
        # Whatever it is: the master must start, and the jobs that ended be there.
        except Exception as error:
            self.give_up(row, error)
            return
        decided = [decision(command) for command in commands]
        text = to_json(decided).decode() if decided else None
        if text != row.commands:
            self.broken = f"row {row.seq} ({row.kind}) was decided differently when it was written"
            return
        if isinstance(said, Registration):
            self.workers[said.worker] = said
        self.now = row.now
        self.steps += 1

    def give_up(self, row: JournalEvent, error: Exception) -> None:
        """Note that a row cannot be understood."""
        said = type(error).__name__
        self.broken = self.broken or f"row {row.seq} ({row.kind}) cannot be replayed: {said}"
