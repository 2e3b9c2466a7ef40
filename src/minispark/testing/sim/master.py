"""A fake master around the real scheduler: journal first, then hands, as the real one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final, Protocol

from minispark.observe.guard import ReaderGuard
from minispark.scheduler import Scheduler
from minispark.scheduler.commands import (
    Command,
    CommitJob,
    FinishJob,
    ReportAccepted,
    ReportDropped,
    WorkerDown,
)
from minispark.scheduler.events import (
    Event,
    JobCommitFailed,
    JobCommitted,
    JobSubmitted,
    MasterRestarted,
    TimerFired,
    WorkerHeartbeat,
    WorkerRegistered,
)
from minispark.settings import SchedulerSettings
from minispark.testing.sim.checks import Checks
from minispark.testing.sim.journal import SimJournal, SimRow, StateDir
from minispark.testing.sim.masters import SimMembership
from minispark.testing.sim.sim_clock import Act, SimClock
from minispark.testing.sim.truth import NO_SPACE, Truth

_EPOCHS: Final = 20
"""Bits of a worker's epoch below those of the master's life, as in the real registry."""


class Messenger(Protocol):
    """Brings commands to workers."""

    def tell(self, master: Master, worker: str, command: Command) -> None:
        """Bring a command to a worker that listens to this master."""


@dataclass(frozen=True, slots=True)
class MasterEnvironment:
    """What outlives a master."""

    agenda: SimClock
    truth: Truth
    messenger: Messenger
    settings: SchedulerSettings
    chance: Random
    read: Callable[[Master, SimRow], None] = lambda _master, _row: None
    """Reads each row once it is durable and carried out. What it raises is of no account."""


class Master:
    """One life of a master. Taken for dead once it was killed: nothing it still does counts."""

    def __init__(
        self, around: MasterEnvironment, home: StateDir, log: Callable[[SimRow], None]
    ) -> None:
        home.life += 1
        self.home = home
        self.alive = True
        self.deposed = False
        """Another has its place: no client asks it, and it reaches no files."""
        self._around = around
        self._log = log
        self.journal = SimJournal(around.agenda, home, around.chance)
        self.journal.on_recovery = self.fire
        self.scheduler: Scheduler = home.replay(around.settings)
        self._epochs = home.life << _EPOCHS
        self._began_s = around.agenda.now
        self._last_s = home.rows[-1].now if home.rows else 0.0
        """The scheduler's time stood still while there was no master."""
        self._guard = ReaderGuard()
        self._checks = Checks(around.truth, (c for row in home.rows for c in row.commands))

    def begin(self) -> None:
        """Go on where the last life ended."""
        for row in self.home.rows:
            for command in row.commands:
                if isinstance(command, FinishJob):
                    self._around.truth.finished(command)
        self.journal.snapshot(self.scheduler)
        self._apply(MasterRestarted(self.home.attempts))

    def kill(self) -> None:
        """End, with all that is not durable."""
        if self.alive and not self.journal.lost:
            again = self.home.replay(self._around.settings)
            assert again.state == self.scheduler.state, "the journal makes another state"
        self.alive = False
        self.journal.close()

    @property
    def now(self) -> float:
        """The scheduler's own time."""
        return self._last_s + (self._around.agenda.now - self._began_s)

    @property
    def wake_s(self) -> float:
        """When its timer is due."""
        if not self.alive or self.journal.trouble:
            return inf
        return self._began_s + (self.scheduler.wake_s - self._last_s)

    # What it is told.

    def register(self, worker: str, slots: int, answer: Callable[[SimMembership], None]) -> None:
        """Take a worker under a new epoch."""
        if not self.alive or self.journal.trouble:
            return
        self._epochs += 1
        member = SimMembership(self.home.cluster, self.home.life, self._epochs)
        self.feed(WorkerRegistered(worker, member.epoch, slots))
        self.journal.after_durable(lambda: answer(member))

    def hear(self, events: tuple[Event, ...], answer: Act | None) -> None:
        """Take a message in; what would have to be written is refused while it cannot be."""
        if not self.alive:
            return
        for event in events:
            if self.journal.trouble and not isinstance(event, WorkerHeartbeat):
                return
            self.feed(event)
        if answer is not None:
            self.journal.after_durable(answer)

    def submit(self, event: JobSubmitted, answer: Act) -> None:
        """Take a job; one that was submitted before is the same job, also when it is over."""
        if not self.alive or self.journal.trouble:
            return
        known = (row.fact for row in self.home.rows if isinstance(row.fact, JobSubmitted))
        if all(fact.job.job != event.job.job for fact in known):
            self._around.truth.submissions[event.job.job] += 1
            self.feed(event)
        # What only a deposed one has written down nobody will ask for again.
        self.journal.after_durable(lambda: None if self.deposed else answer())

    def fire(self) -> None:
        """Let the timer come."""
        if self.alive and not self.journal.trouble:
            self.feed(TimerFired())

    def feed(self, event: Event) -> None:
        """Take an event in: decide, apply, write down; its commands follow once it is durable."""
        fact = self.scheduler.decide(event, self.now)
        passing = isinstance(event, WorkerHeartbeat | TimerFired) and self.journal.trouble
        if fact is not None and not passing:
            self._apply(fact)

    def _apply(self, fact: Event) -> None:
        now, scheduler = self.now, self.scheduler
        self._checks.before(scheduler, fact)
        commands = tuple(scheduler.apply(fact, now))
        row = SimRow(fact, now, commands)
        self._log(row)
        self._checks.after(scheduler, fact, commands, now)
        self.journal.append(row)
        self.journal.after_durable(lambda: self._follow(row))
        if self._around.chance.random() < 0.01:
            self.journal.snapshot(scheduler)

    def _follow(self, row: SimRow) -> None:
        self._carry_out(row.commands)
        self._guard.run("reader", lambda: self._around.read(self, row))

    # Its hands.

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            match command:
                case WorkerDown() | ReportAccepted() | ReportDropped():
                    pass
                case CommitJob() | FinishJob() if self.deposed:
                    pass
                case CommitJob():
                    self._commit(command)
                case FinishJob():
                    self._around.truth.finished(command)
                case _:
                    self._around.messenger.tell(self, command.worker, command)

    def _commit(self, command: CommitJob) -> None:
        around = self._around
        if around.truth.faults.strikes("commit"):
            around.truth.withdrawn(command.job)
            self._soon(lambda: self._answer(JobCommitFailed(command.job, NO_SPACE)))
            return
        self._publish(command, 0)

    def _publish(self, command: CommitJob, number: int) -> None:
        """Rename one file after the other; before each the master may die or lose its place."""
        truth = self._around.truth
        if self.deposed:
            return
        if number < len(command.sinks):
            truth.publishes(command.sinks[number])
            self._soon(lambda: self._publish(command, number + 1))
            return
        truth.published.setdefault(command.job, {})
        truth.success[command.job] = None
        self._soon(lambda: self._answer(JobCommitted(command.job)))

    def _answer(self, event: JobCommitted | JobCommitFailed) -> None:
        if self.journal.trouble:
            self._soon(lambda: self._answer(event))
            return
        self.feed(event)
        self.feed(event)  # Said twice it is said once.

    def _soon(self, act: Act) -> None:
        seconds = self._around.chance.random() * self._around.chance.choice((0.01, 1.0))
        self._around.agenda.after(seconds, lambda: act() if self.alive else None)
