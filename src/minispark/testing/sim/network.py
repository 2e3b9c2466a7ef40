"""The simulated clock and network, and what workers see of masters."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Literal, NamedTuple, Protocol

from minispark.ids import TaskKey
from minispark.scheduler.events import Event
from minispark.testing.sim.faults import Faults

Act = Callable[[], None]
_USUAL_S = 0.05
LATE_S = 15.0
"""Longer than the time after which a silent worker is DOWN."""

Direction = Literal["up", "down"]


class SimClock:
    """A clock that advances to the next due action; actions of equal times keep their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Act]] = []
        self._count = 0

    def after(self, delay_s: float, act: Act) -> None:
        """Schedule an action."""
        self._count += 1
        heappush(self._due, (self.now + delay_s, self._count, act))

    @property
    def next_s(self) -> float:
        """Time of the next action, infinity for never."""
        return self._due[0][0] if self._due else inf

    def step(self) -> None:
        """Advance to the next action and run it."""
        self.now, _, act = heappop(self._due)
        act()


class Network:
    """Delivers messages by calling; the receiver decides whether it still takes them."""

    def __init__(self, clock: SimClock, faults: Faults, rng: Random) -> None:
        self._clock = clock
        self._faults = faults
        self._rng = rng
        self._cut: dict[tuple[str, Direction], float] = {}

    def carry(self, worker: str, direction: Direction, deliver: Act) -> None:
        """Deliver a message from or to a worker; faults may lose, repeat or delay it."""
        if self._clock.now < self._cut.get((worker, direction), 0.0):
            return
        for _ in range(2 if self._faults.occurs("doubled") else 1):
            if self._faults.occurs("lost"):
                continue
            most_s = LATE_S if self._faults.occurs("late") else _USUAL_S
            self._clock.after(self._rng.random() * most_s, deliver)

    def cut(self, worker: str, direction: Direction, for_s: float) -> None:
        """Drop all messages from or to a worker for a while."""
        self._cut[worker, direction] = self._clock.now + for_s

    def heal(self) -> None:
        """Reconnect every worker."""
        self._cut.clear()

    def reads(self, reader: str, holder: str) -> bool:
        """Whether a worker can reach another at this moment."""
        return reader == holder or not self._faults.occurs("peer")


class SimMembership(NamedTuple):
    """A worker's registration: the cluster, the epoch of its master, the epoch of the worker."""

    cluster: int
    master: int
    epoch: int


class Masters(Protocol):
    """The master's address as workers see it; a process may listen there or not."""

    def register(self, worker: str, slots: int, answer: Callable[[SimMembership], None]) -> None:
        """Register a worker; the answer is its membership."""

    def receive(
        self, worker: str, cluster: int, events: tuple[Event, ...], answer: Act | None = None
    ) -> None:
        """Take events of a member of a cluster; the answer comes when they are durable."""

    def note_deletion(self, worker: str, key: TaskKey) -> None:
        """Note that a worker deletes a block by order of a master."""
