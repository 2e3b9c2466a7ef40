"""The journal of a simulated master, on a disk that may be slow or full for a while."""

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
from minispark.testing.sim.network import Act, SimClock

_SLOW_S = 2.0


@dataclass(frozen=True, slots=True)
class SimRow:
    """A fact, the time at which it was applied, and the commands that followed."""

    fact: Event
    now: float
    commands: tuple[Command, ...]


@dataclass(slots=True)
class StateDir:
    """The state directory of a master; it outlives the process."""

    cluster: int
    life: int = 0
    rows: list[SimRow] = field(default_factory=list)
    synced: int = 0
    """Number of rows that survive a power cut."""
    snapshots: list[tuple[int, Any]] = field(default_factory=list)
    """Each with the number of rows that it holds."""
    attempts: int = 0
    """Lowest number of new attempts, as its masters may not know all earlier launches."""

    def copy(self) -> StateDir:
        """Copy the directory, as a careless operator would."""
        rows, snapshots = list(self.rows), list(self.snapshots)
        copy = StateDir(self.cluster, self.life, rows, self.synced, snapshots)
        copy.skip_attempt_numbers()
        return copy

    def skip_attempt_numbers(self) -> None:
        """Skip the numbers of attempts that may have been launched and are not in the journal."""
        self.attempts = (self.life + 1) * ATTEMPTS_OF_A_LIFE

    def cut_power(self, share: float) -> None:
        """Lose this share of the rows that are not synced."""
        remaining = self.synced + int((1 - share) * (len(self.rows) - self.synced))
        del self.rows[remaining:]
        self.snapshots = [(rows, text) for rows, text in self.snapshots if rows <= remaining]
        self.skip_attempt_numbers()

    def extend(self, rows: Iterable[SimRow]) -> None:
        """Append rows; sync the journal after a row that promises something to a client."""
        for row in rows:
            self.rows.append(row)
            promised = any(isinstance(c, CommitJob | FinishJob) for c in row.commands)
            if promised or isinstance(row.fact, JobSubmitted):
                self.synced = len(self.rows)

    def replay(self, settings: SchedulerSettings) -> Scheduler:
        """Return the scheduler that the rows give; it must decide the same as before."""
        done, state = 0, None
        if self.snapshots:
            done, text = self.snapshots[-1]
            state = snapshot.load(json.loads(text))
        scheduler = Scheduler(settings, state)
        for row in self.rows[done:]:
            again = tuple(scheduler.apply(row.fact, row.now))
            assert again == row.commands, f"decided otherwise when replayed: {row.fact}: {again}"
        return scheduler


class SimJournal:
    """The journal of one life of a master."""

    def __init__(self, clock: SimClock, state_dir: StateDir, rng: Random) -> None:
        self.state_dir = state_dir
        self._clock = clock
        self._rng = rng
        self._queue: deque[SimRow] = deque()
        self._steps: deque[tuple[int, Act]] = deque()
        self._busy = self._stepping = False
        self._broken_until_s = 0.0
        self._slow_until_s = 0.0
        self.open = True
        self.on_recovery: Callable[[], None] = lambda: None

    @property
    def trouble(self) -> bool:
        """Whether a write has failed and no later write has worked."""
        return bool(self._queue) and self._clock.now < self._broken_until_s

    @property
    def lost(self) -> int:
        """Number of rows that are not durable yet."""
        return len(self._queue)

    def break_for(self, seconds: float) -> None:
        """Make all writes fail for a while."""
        self._broken_until_s = self._clock.now + seconds
        self._clock.after(seconds, self._flush)

    def slow_for(self, seconds: float) -> None:
        """Make writes slow for a while."""
        self._slow_until_s = self._clock.now + seconds

    def heal(self) -> None:
        """Make every write succeed from now on."""
        self._broken_until_s = self._slow_until_s = 0.0
        self._flush()

    def append(self, row: SimRow) -> None:
        """Write a row."""
        self._queue.append(row)
        if self._clock.now < self._slow_until_s:
            if not self._busy:
                self._busy = True
                self._clock.after(self._rng.random() * _SLOW_S, self._flush)
        else:
            self._flush()

    def after_durable(self, act: Act) -> None:
        """Call ``act`` when all rows so far are durable."""
        self._steps.append((len(self.state_dir.rows) + len(self._queue), act))
        self._advance()

    def snapshot(self, scheduler: Scheduler) -> None:
        """Save a snapshot of the scheduler, unless a row is not durable yet."""
        if not self._queue:
            text = json.dumps(snapshot.dump(scheduler.state))
            self.state_dir.snapshots.append((len(self.state_dir.rows), text))

    def close(self) -> None:
        """Close the journal; rows that are not durable are lost."""
        self.open = False
        self._queue.clear()
        self._steps.clear()

    def _flush(self) -> None:
        self._busy = False
        if not self.open or self._clock.now < self._broken_until_s:
            return
        recovered = len(self._queue) > 1
        self.state_dir.extend(self._queue)
        self._queue.clear()
        self._advance()
        if recovered:
            self.on_recovery()

    def _advance(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        while self._steps and self._steps[0][0] <= len(self.state_dir.rows):
            self._steps.popleft()[1]()
        self._stepping = False
