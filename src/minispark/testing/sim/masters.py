"""What workers see of masters, and as what they are known to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from minispark.ids import TaskKey
from minispark.scheduler.events import Event
from minispark.testing.sim.sim_clock import Act


class SimMembership(NamedTuple):
    """As what a worker is registered: in which cluster, by which life of its master."""

    cluster: int
    master: int
    epoch: int


class Masters(Protocol):
    """Whoever listens at the master's address, if anybody does."""

    def register(self, worker: str, slots: int, answer: Callable[[SimMembership], None]) -> None:
        """Offer a worker; the answer is what it is from now on."""

    def hear(
        self, worker: str, cluster: int, events: tuple[Event, ...], answer: Act | None = None
    ) -> None:
        """Take what a member of a cluster says; the answer comes once it is durable."""

    def deletes(self, worker: str, key: TaskKey) -> None:
        """Take note that a worker deletes a block because it was told to."""
