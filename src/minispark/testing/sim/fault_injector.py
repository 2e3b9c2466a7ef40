"""Faults that come from time to time: which process has one, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from minispark.testing.sim.network import Direction
from minispark.testing.sim.worker import FakeWorker

if TYPE_CHECKING:
    from minispark.testing.sim.world import World

_BRIEF_S = (0.5, 5.0, 15.0)
"""Some end before a silent worker is DOWN, some after."""


class FaultInjector:
    """Injects faults into a world until the world heals."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self._injections: Mapping[str, Callable[[], None]] = {
            "crash": lambda: self._worker(lambda worker: worker.die()),
            "goodbye": lambda: self._worker(lambda worker: worker.die(saying_goodbye=True)),
            "hang": lambda: self._worker(lambda worker: worker.freeze(self._brief_s())),
            "clock": lambda: self._worker(lambda worker: worker.jump(self._brief_s())),
            "drain": lambda: self._worker(lambda worker: worker.leave()),
            "full": lambda: self._worker(lambda worker: worker.fill(self._brief_s())),
            "cut": self._cut,
            "one-way": self._cut_one_way,
            "restart": lambda: world.restart(down_s=self._brief_s()),
            "power": lambda: world.restart(down_s=self._brief_s(), loses=self._rng.random()),
            "disk-full": lambda: world.master.journal.break_for(self._brief_s()),
            "disk-slow": lambda: world.master.journal.slow_for(self._brief_s()),
            "twin": lambda: world.take_over(for_s=self._brief_s()),
            "wipe": lambda: world.wipe(),
        }

    def begin(self) -> None:
        """Schedule the first fault of each kind."""
        for kind in self._injections:
            self._next(kind)

    def _next(self, kind: str) -> None:
        pause_s = self._world.faults.pause_s(kind)
        if pause_s is not None:
            self._world.clock.after(pause_s, lambda: self._inject(kind))

    def _inject(self, kind: str) -> None:
        if not self._world.healed:
            self._world.faults.counts[kind] += 1
            self._injections[kind]()
            self._next(kind)

    def _brief_s(self) -> float:
        return self._rng.choice(_BRIEF_S) * (0.5 + self._rng.random())

    def _worker(self, inject: Callable[[FakeWorker], None]) -> None:
        worker = self._rng.choice(list(self._world.workers.values()))
        if worker.alive:
            inject(worker)

    def _cut(self) -> None:
        seconds = self._brief_s()
        for name in self._some():
            self._world.network.cut(name, "up", seconds)
            self._world.network.cut(name, "down", seconds)

    def _cut_one_way(self) -> None:
        direction: Direction = self._rng.choice(("up", "down"))
        seconds = self._brief_s()
        for name in self._some():
            self._world.network.cut(name, direction, seconds)

    def _some(self) -> list[str]:
        names = list(self._world.workers)
        return self._rng.sample(names, self._rng.randint(1, len(names)))
