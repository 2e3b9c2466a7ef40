"""Many histories, on several processes, summed up."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

from minispark.errors import UsageError
from minispark.testing.sim.options import SimOptions
from minispark.testing.sim.world import SimHistory, SimulationError, World

_CHUNK: Final = 25
"""Histories that a process lives at a time: about a second."""
_MOST_FINDINGS: Final = 5
"""Then something is wrong everywhere, and more of it tells nothing."""


@dataclass(frozen=True, slots=True)
class FailedHistory:
    """A history that went wrong."""

    recipe: SimOptions
    reason: str
    story: str


@dataclass(slots=True)
class Tally:
    """How histories went."""

    histories: int = 0
    steps: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    findings: list[FailedHistory] = field(default_factory=list)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """Hash of the journals of all histories, in the order of their seeds."""
        return self._digest.hexdigest()

    def add(self, outcome: SimHistory | FailedHistory) -> None:
        """Count one more."""
        self.histories += 1
        if isinstance(outcome, FailedHistory):
            self.findings.append(outcome)
            self._digest.update(outcome.story.encode())
            return
        self.steps += outcome.steps
        self.ends.update(status.value for _, status in outcome.ends)
        self.struck.update(dict(outcome.struck))
        self._digest.update(outcome.digest.encode())


def simulate(
    first: int,
    histories: int,
    *,
    processes: int = 1,
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Live the histories of consecutive seeds; ``progress`` is told after each handful.

    Stops after a few that went wrong.

    Raises
    ------
    UsageError
        Python leaves out what the simulator is there for.
    """
    if not __debug__:
        msg = "with -O or PYTHONOPTIMIZE nothing is checked"
        raise UsageError(msg, hint="Run without it.")
    tally = Tally()
    for outcomes in _live(first, histories, processes):
        for outcome in outcomes:
            tally.add(outcome)
        progress(tally)
        if len(tally.findings) >= _MOST_FINDINGS:
            break
    return tally


def live(recipe: SimOptions) -> SimHistory | FailedHistory:
    """Live one history."""
    try:
        return World(recipe).run()
    except SimulationError as error:
        return FailedHistory(error.recipe, error.reason, error.story)


def _live(first: int, histories: int, processes: int) -> Iterator[list[SimHistory | FailedHistory]]:
    chunks = [
        range(start, min(start + _CHUNK, first + histories))
        for start in range(first, first + histories, _CHUNK)
    ]
    if processes == 1:
        yield from map(_chunk, chunks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(_chunk, chunks)
        finally:
            pool.shutdown(cancel_futures=True)


def _chunk(seeds: range) -> list[SimHistory | FailedHistory]:
    return [live(SimOptions(seed)) for seed in seeds]
