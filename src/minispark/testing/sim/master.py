"""A fake master around the real scheduler; like the real one, it acts on durable rows only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final, Protocol

from minispark.observe.projection import ReaderGuard
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
from minispark.testing.sim.network import Act, SimClock, SimMembership
from minispark.testing.sim.truth import NO_SPACE, Truth

_EPOCHS: Final = 20
"""Bits of a worker's epoch below those of the master's life, as in the real registry."""


class Messenger(Protocol):
    """Sends commands to workers."""

    def send(self, master: Master, worker: str, command: Command) -> None:
        """Send a command to a worker that listens to this master."""


@dataclass(frozen=True, slots=True)
class MasterEnvironment:
    """Everything around a master; it outlives the master."""

    clock: SimClock
    truth: Truth
    messenger: Messenger
    settings: SchedulerSettings
    rng: Random
    read: Callable[[Master, SimRow], None] = lambda _master, _row: None
    """Called with each row that is durable and carried out. Its exceptions change nothing."""


class Master:
    """One process of a master. After `kill` its actions have no effect."""

    def __init__(
        self, environment: MasterEnvironment, state_dir: StateDir, log: Callable[[SimRow], None]
    ) -> None:
        state_dir.life += 1
        self.state_dir = state_dir
        self.alive = True
        self.replaced = False
        """Whether another master has its place: clients do not call it, and it writes no files."""
        self._environment = environment
        self._log = log
        self.journal = SimJournal(environment.clock, state_dir, environment.rng)
        self.journal.on_recovery = self.fire
        self.scheduler: Scheduler = state_dir.replay(environment.settings)
        self._epochs = state_dir.life << _EPOCHS
        self._began_s = environment.clock.now
        self._last_s = state_dir.rows[-1].now if state_dir.rows else 0.0
        """Time of the scheduler at the start: it did not advance while there was no master."""
        self._guard = ReaderGuard()
        self._checks = Checks(
            environment.truth, (c for row in state_dir.rows for c in row.commands)
        )

    def begin(self) -> None:
        """Continue where the last process ended."""
        for row in self.state_dir.rows:
            for command in row.commands:
                if isinstance(command, FinishJob):
                    self._environment.truth.finished(command)
        self.journal.snapshot(self.scheduler)
        self._apply(MasterRestarted(self.state_dir.attempts))

    def kill(self) -> None:
        """End the process; rows that are not durable are lost."""
        if self.alive and not self.journal.lost:
            again = self.state_dir.replay(self._environment.settings)
            assert again.state == self.scheduler.state, "the journal makes another state"
        self.alive = False
        self.journal.close()

    @property
    def now(self) -> float:
        """The time of the scheduler."""
        return self._last_s + (self._environment.clock.now - self._began_s)

    @property
    def wake_s(self) -> float:
        """Time at which its timer is due."""
        if not self.alive or self.journal.trouble:
            return inf
        return self._began_s + (self.scheduler.wake_s - self._last_s)

    # Messages.

    def register(self, worker: str, slots: int, answer: Callable[[SimMembership], None]) -> None:
        """Register a worker under a new epoch."""
        if not self.alive or self.journal.trouble:
            return
        self._epochs += 1
        member = SimMembership(self.state_dir.cluster, self.state_dir.life, self._epochs)
        self.feed(WorkerRegistered(worker, member.epoch, slots))
        self.journal.after_durable(lambda: answer(member))

    def receive(self, events: tuple[Event, ...], answer: Act | None) -> None:
        """Take a message in; while the journal cannot be written, only heartbeats are accepted."""
        if not self.alive:
            return
        for event in events:
            if self.journal.trouble and not isinstance(event, WorkerHeartbeat):
                return
            self.feed(event)
        if answer is not None:
            self.journal.after_durable(answer)

    def submit(self, event: JobSubmitted, answer: Act) -> None:
        """Take a job; a job that was submitted before is the same job, also after its end."""
        if not self.alive or self.journal.trouble:
            return
        submitted = (row.fact for row in self.state_dir.rows if isinstance(row.fact, JobSubmitted))
        if all(fact.job.job != event.job.job for fact in submitted):
            self._environment.truth.submissions[event.job.job] += 1
            self.feed(event)
        # No client asks again for a job that only a replaced master has in its journal.
        self.journal.after_durable(lambda: None if self.replaced else answer())

    def fire(self) -> None:
        """Fire the timer."""
        if self.alive and not self.journal.trouble:
            self.feed(TimerFired())

    def feed(self, event: Event) -> None:
        """Decide and apply an event, and write its row; commands follow once it is durable."""
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
        if self._environment.rng.random() < 0.01:
            self.journal.snapshot(scheduler)

    def _follow(self, row: SimRow) -> None:
        self._carry_out(row.commands)
        self._guard.run("reader", lambda: self._environment.read(self, row))

    # Commands.

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            match command:
                case WorkerDown() | ReportAccepted() | ReportDropped():
                    pass
                case CommitJob() | FinishJob() if self.replaced:
                    pass
                case CommitJob():
                    self._commit(command)
                case FinishJob():
                    self._environment.truth.finished(command)
                case _:
                    self._environment.messenger.send(self, command.worker, command)

    def _commit(self, command: CommitJob) -> None:
        environment = self._environment
        if environment.truth.faults.occurs("commit"):
            environment.truth.withdrawn(command.job)
            self._soon(lambda: self._answer(JobCommitFailed(command.job, NO_SPACE)))
            return
        self._publish(command, 0)

    def _publish(self, command: CommitJob, number: int) -> None:
        """Rename one file after the other; the master may die or be replaced in between."""
        truth = self._environment.truth
        if self.replaced:
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
        self.feed(event)  # A repeated event changes nothing.

    def _soon(self, act: Act) -> None:
        seconds = self._environment.rng.random() * self._environment.rng.choice((0.01, 1.0))
        self._environment.clock.after(seconds, lambda: act() if self.alive else None)
