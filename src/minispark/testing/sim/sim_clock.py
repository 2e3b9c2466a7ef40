"""The fake clock, and what is due when."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf

Act = Callable[[], None]


class SimClock:
    """Time stands still but for the next thing that is due; equal times keep their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Act]] = []
        self._count = 0

    def after(self, delay_s: float, act: Act) -> None:
        """Have something done."""
        self._count += 1
        heappush(self._due, (self.now + delay_s, self._count, act))

    @property
    def next_s(self) -> float:
        """When the next thing is due, infinity for never."""
        return self._due[0][0] if self._due else inf

    def step(self) -> None:
        """Go to the next thing and do it."""
        self.now, _, act = heappop(self._due)
        act()
