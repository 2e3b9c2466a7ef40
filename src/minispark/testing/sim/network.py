"""The network between workers and master: messages are lost, doubled, late; lines are cut."""

from __future__ import annotations

from random import Random
from typing import Literal

from minispark.testing.sim.faults import Faults
from minispark.testing.sim.sim_clock import Act, SimClock

_USUAL_S = 0.05
LATE_S = 15.0
"""Beyond the time after which a silent worker is DOWN."""

Direction = Literal["up", "down"]


class Network:
    """Delivers by calling; who is there then, and whether he listens, is not its concern."""

    def __init__(self, agenda: SimClock, faults: Faults, chance: Random) -> None:
        self._agenda = agenda
        self._faults = faults
        self._chance = chance
        self._cut: dict[tuple[str, Direction], float] = {}

    def carry(self, worker: str, direction: Direction, deliver: Act) -> None:
        """Carry a message of or for a worker."""
        if self._agenda.now < self._cut.get((worker, direction), 0.0):
            return
        for _ in range(2 if self._faults.strikes("doubled") else 1):
            if self._faults.strikes("lost"):
                continue
            most_s = LATE_S if self._faults.strikes("late") else _USUAL_S
            self._agenda.after(self._chance.random() * most_s, deliver)

    def cut(self, worker: str, direction: Direction, for_s: float) -> None:
        """Let nothing of or for a worker through for a while."""
        self._cut[worker, direction] = self._agenda.now + for_s

    def heal(self) -> None:
        """Mend every line."""
        self._cut.clear()

    def reads(self, reader: str, holder: str) -> bool:
        """Whether a worker gets through to another just now."""
        return reader == holder or not self._faults.strikes("peer")
