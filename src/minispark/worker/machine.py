"""What a worker does with the attempts it is handed: a pure state machine.

Covers: slots, the queue before them, cancelling, duplicate dispatch, a change of epoch.
Does not cover: processes (`executors`), messages (`link`), the loops around it (`server`).

States of an attempt::

              slot free              Ended
    (new) ─┬────────────> running ───────────────> (reported)
           │                ^  │ Cancel    Ended
           └──> queued ─────┘  └──> stopping ────> (reported)
                  │ Cancel
                  └─────────────────────────────> (reported Cancelled)

Each attempt taken is reported exactly once, unless the epoch it was taken under has ended: then
nobody wants to know. An attempt that the worker has or had is not taken again, so a poll reply
that arrives twice does no harm.
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
"""Attempts remembered as taken. A duplicate comes within seconds; this is minutes of work."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The master took this worker under a new epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The master does not know this epoch (any more)."""


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The master handed out attempts."""

    tasks: tuple[TaskSpec, ...]


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The master wants attempts ended."""

    keys: tuple[TaskKey, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """An executor is done with an attempt."""

    outcome: AttemptResult


Event = Registered | Unregistered | Dispatched | CancelAsked | Ended


@dataclass(frozen=True, slots=True)
class Run:
    """Start an attempt; a slot is free for it."""

    spec: TaskSpec


@dataclass(frozen=True, slots=True)
class Stop:
    """End a running attempt."""

    key: TaskKey


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the master how an attempt ended."""

    outcome: AttemptResult


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete the block of an attempt that nobody will ask for, or order released."""

    key: TaskKey


Command = Run | Stop | Report | Discard


class _Running(Enum):
    WANTED = "wanted"
    STOPPING = "stopping"
    FORGOTTEN = "forgotten"
    """Its epoch has ended: it still takes a slot, but nobody wants its report."""


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

    def in_line(self) -> Counter[tuple[str, int]]:
        """Count the attempts of each job's stages that wait for a slot."""
        return Counter((key.job, key.stage) for key in self._queued)

    def is_wanted(self, key: TaskKey) -> bool:
        """Whether an attempt has a slot, and the master waits for its report."""
        return self._running.get(key) is _Running.WANTED

    @property
    def attempts(self) -> tuple[TaskKey, ...]:
        """What the worker holds under its epoch, running ones first."""
        live = (key for key, how in self._running.items() if how is not _Running.FORGOTTEN)
        return (*live, *self._queued)

    def step(self, event: Event) -> tuple[Command, ...]:
        """Take an event in, and say what is to be done."""
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
        stops = tuple(Stop(key) for key, how in self._running.items() if how is _Running.WANTED)
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
        # A cancel may overtake the dispatch it means (a reply that came twice): never start it.
        self._taken[key] = None
        if self._queued.pop(key, None) is not None:
            return (Report(TaskFailure(key, Cancelled())),)
        if self._running.get(key) is _Running.WANTED:
            self._running[key] = _Running.STOPPING
            return (Stop(key),)
        return ()

    def _end(self, outcome: AttemptResult) -> tuple[Command, ...]:
        how = self._running.pop(outcome.key, None)
        if how is None:
            return ()
        if how is _Running.FORGOTTEN:
            return (Discard(outcome.key), *self._start())
        return (Report(outcome), *self._start())
