"""A master's journal and its disk: rows become durable in order, late, or not for a while."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from minispark.scheduler import Scheduler, snapshot
from minispark.scheduler.commands import Command, CommitJob, FinishJob
from minispark.scheduler.events import ATTEMPTS_OF_A_LIFE, Event, JobSubmitted
from minispark.settings import SchedulerSettings
from minispark.testing.sim.sim_clock import Act, SimClock

_SLOW_S = 2.0


@dataclass(frozen=True, slots=True)
class SimRow:
    """A fact, when it was applied, and what was decided then."""

    fact: Event
    now: float
    commands: tuple[Command, ...]


@dataclass(slots=True)
class StateDir:
    """What survives the death of a master."""

    cluster: int
    life: int = 0
    rows: list[SimRow] = field(default_factory=list)
    synced: int = 0
    """How many rows a power cut leaves at least."""
    kept: list[tuple[int, Any]] = field(default_factory=list)
    """Snapshots, and how many rows each holds."""
    attempts: int = 0
    """From where on its masters number attempts, since they may not know of all launches."""

    def copy(self) -> StateDir:
        """Copy the directory, as a careless operator would."""
        rows, kept = list(self.rows), list(self.kept)
        copy = StateDir(self.cluster, self.life, rows, self.synced, kept)
        copy.doubt()
        return copy

    def doubt(self) -> None:
        """Number attempts beyond all that may have been launched: other ones are not known."""
        self.attempts = (self.life + 1) * ATTEMPTS_OF_A_LIFE

    def cut_power(self, share: float) -> None:
        """Lose this share of what the disk was not told to write at once."""
        left = self.synced + int((1 - share) * (len(self.rows) - self.synced))
        del self.rows[left:]
        self.kept = [(rows, text) for rows, text in self.kept if rows <= left]
        self.doubt()

    def extend(self, rows: Iterable[SimRow]) -> None:
        """Append rows; the journal is synced where something is promised to somebody outside."""
        for row in rows:
            self.rows.append(row)
            promised = any(isinstance(c, CommitJob | FinishJob) for c in row.commands)
            if promised or isinstance(row.fact, JobSubmitted):
                self.synced = len(self.rows)

    def replay(self, settings: SchedulerSettings) -> Scheduler:
        """Make the scheduler again; everything must be decided as it was."""
        done, state = 0, None
        if self.kept:
            done, text = self.kept[-1]
            state = snapshot.load(json.loads(text))
        scheduler = Scheduler(settings, state)
        for row in self.rows[done:]:
            again = tuple(scheduler.apply(row.fact, row.now))
            assert again == row.commands, f"decided otherwise when replayed: {row.fact}: {again}"
        return scheduler


class SimJournal:
    """The journal of one life of a master."""

    def __init__(self, agenda: SimClock, home: StateDir, chance: Random) -> None:
        self.home = home
        self._agenda = agenda
        self._chance = chance
        self._queue: deque[SimRow] = deque()
        self._steps: deque[tuple[int, Act]] = deque()
        self._busy = self._stepping = False
        self._broken_until_s = 0.0
        self._slow_until_s = 0.0
        self.open = True
        self.on_recovery: Callable[[], None] = lambda: None

    @property
    def trouble(self) -> bool:
        """Whether a write has failed, and none has worked since."""
        return bool(self._queue) and self._agenda.now < self._broken_until_s

    @property
    def lost(self) -> int:
        """How many rows would be lost now."""
        return len(self._queue)

    def break_for(self, seconds: float) -> None:
        """Let no write succeed for a while."""
        self._broken_until_s = self._agenda.now + seconds
        self._agenda.after(seconds, self._flush)

    def slow_for(self, seconds: float) -> None:
        """Let writes take long for a while."""
        self._slow_until_s = self._agenda.now + seconds

    def heal(self) -> None:
        """Let every write succeed from now on."""
        self._broken_until_s = self._slow_until_s = 0.0
        self._flush()

    def append(self, row: SimRow) -> None:
        """Write a row."""
        self._queue.append(row)
        if self._agenda.now < self._slow_until_s:
            if not self._busy:
                self._busy = True
                self._agenda.after(self._chance.random() * _SLOW_S, self._flush)
        else:
            self._flush()

    def after_durable(self, act: Act) -> None:
        """Do something once all that was written so far is durable."""
        self._steps.append((len(self.home.rows) + len(self._queue), act))
        self._advance()

    def snapshot(self, scheduler: Scheduler) -> None:
        """Keep the scheduler as it is; only what is durable is in a snapshot."""
        if not self._queue:
            text = json.dumps(snapshot.dump(scheduler.state))
            self.home.kept.append((len(self.home.rows), text))

    def close(self) -> None:
        """End with the master: what is not durable is lost."""
        self.open = False
        self._queue.clear()
        self._steps.clear()

    def _flush(self) -> None:
        self._busy = False
        if not self.open or self._agenda.now < self._broken_until_s:
            return
        recovered = len(self._queue) > 1
        self.home.extend(self._queue)
        self._queue.clear()
        self._advance()
        if recovered:
            self.on_recovery()

    def _advance(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        while self._steps and self._steps[0][0] <= len(self.home.rows):
            self._steps.popleft()[1]()
        self._stepping = False
