"""The attempts of a worker as a pure state machine.

Covers: slots, the queue before them, cancelling, duplicate dispatch, a change of epoch.
Does not cover: processes (`executors`), messages (`rpc`), the loops around it (`agent`).

States of an attempt::

              slot free              Ended
    (new) ─┬────────────> running ───────────────> (reported)
           │                ^  │ Cancel    Ended
           └──> queued ─────┘  └──> stopping ────> (reported)
                  │ Cancel
                  └─────────────────────────────> (reported Cancelled)

Each attempt is reported exactly once, unless its epoch has ended: then the master does not wait for
the report. An attempt that the worker has or had is not taken again, so a poll reply that arrives
twice does no harm.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from minispark.errors import Cancelled
from minispark.ids import TaskKey
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec

AttemptResult = TaskReport | TaskFailure

MAX_REMEMBERED = 10_000
"""Attempts remembered as taken: minutes of work. A duplicate arrives within seconds."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The master registered this worker under a new epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The master does not know this epoch."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The master sent attempts."""

    tasks: tuple[TaskSpec, ...]


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The master cancelled attempts."""

    keys: tuple[TaskKey, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt has ended."""

    outcome: AttemptResult


Event = Registered | Unregistered | Dispatched | CancelAsked | Ended


@dataclass(frozen=True, slots=True)
class Run:
    """Start an attempt in a free slot."""

    spec: TaskSpec


@dataclass(frozen=True, slots=True)
class Stop:
    """End a running attempt."""

    key: TaskKey


@dataclass(frozen=True, slots=True)
class Report:
    """Report the end of an attempt to the master."""

    outcome: AttemptResult


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete the block of an attempt that will not be reported."""

    key: TaskKey


Command = Run | Stop | Report | Discard


class _Running(Enum):
    WANTED = "wanted"
    STOPPING = "stopping"
    FORGOTTEN = "forgotten"
    """Its epoch has ended: it still takes a slot, but it is not reported."""


class Machine:
    """The state of one worker. ``step`` is its only mutator."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.epoch: int | None = None
        self._queued: dict[TaskKey, TaskSpec] = {}
        self._running: dict[TaskKey, _Running] = {}
        self._taken: dict[TaskKey, None] = {}

    @property
    def free_slots(self) -> int:
        """Slots without an attempt."""
        return self.slots - len(self._running)

    def queue_counts(self) -> Counter[tuple[str, int]]:
        """Return how many attempts wait for a slot, by job and stage."""
        return Counter((key.job, key.stage) for key in self._queued)

    def is_wanted(self, key: TaskKey) -> bool:
        """Whether an attempt has a slot, and the master waits for its report."""
        return self._running.get(key) is _Running.WANTED

    @property
    def attempts(self) -> tuple[TaskKey, ...]:
        """The attempts of this epoch, running ones first."""
        running = (key for key, state in self._running.items() if state is not _Running.FORGOTTEN)
        return (*running, *self._queued)

    def step(self, event: Event) -> tuple[Command, ...]:
        """Apply an event; return what must be done."""
        match event:
            case Registered(epoch):
                return self._begin(epoch)
            case Unregistered():
                return self._forget()
            case Dispatched(tasks):
                return self._take(tasks)
            case CancelAsked(keys):
                return tuple(command for key in keys for command in self._cancel(key))
            case Ended(outcome):
                return self._end(outcome)
            case _:
                assert_never(event)

    def _begin(self, epoch: int) -> tuple[Command, ...]:
        commands = self._forget()
        self.epoch = epoch
        return commands

    def _forget(self) -> tuple[Command, ...]:
        self.epoch = None
        self._queued.clear()
        self._taken.clear()
        stops = tuple(Stop(key) for key, state in self._running.items() if state is _Running.WANTED)
        for key in self._running:
            self._running[key] = _Running.FORGOTTEN
        return stops

    def _take(self, tasks: tuple[TaskSpec, ...]) -> tuple[Command, ...]:
        if self.epoch is None:
            return ()
        for spec in tasks:
            if spec.key in self._taken or spec.key in self._running:
                continue
            self._taken[spec.key] = None
            self._queued[spec.key] = spec
        while len(self._taken) > MAX_REMEMBERED:
            del self._taken[next(iter(self._taken))]
        return self._start()

    def _start(self) -> tuple[Command, ...]:
        started: list[Command] = []
        while self._queued and self.free_slots > 0:
            key = next(iter(self._queued))
            self._running[key] = _Running.WANTED
            started.append(Run(self._queued.pop(key)))
        return tuple(started)

    def _cancel(self, key: TaskKey) -> tuple[Command, ...]:
        if self.epoch is None:
            return ()
        # A cancel may arrive before its dispatch (a reply that came twice): never start that.
        self._taken[key] = None
        if self._queued.pop(key, None) is not None:
            return (Report(TaskFailure(key, Cancelled())),)
        if self._running.get(key) is _Running.WANTED:
            self._running[key] = _Running.STOPPING
            return (Stop(key),)
        return ()

    def _end(self, outcome: AttemptResult) -> tuple[Command, ...]:
        state = self._running.pop(outcome.key, None)
        if state is None:
            return ()
        if state is _Running.FORGOTTEN:
            return (Discard(outcome.key), *self._start())
        return (Report(outcome), *self._start())
