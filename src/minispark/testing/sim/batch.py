"""Runs of many histories, on several processes, with their totals."""

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
"""Histories that a process runs at a time: about a second."""
_MAX_FINDINGS: Final = 5
"""Failed histories after which a run stops: all most likely have the same cause."""


@dataclass(frozen=True, slots=True)
class FailedHistory:
    """A history that failed."""

    options: SimOptions
    reason: str
    story: str


@dataclass(slots=True)
class Tally:
    """Totals over histories."""

    histories: int = 0
    steps: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    fault_counts: Counter[str] = field(default_factory=Counter)
    findings: list[FailedHistory] = field(default_factory=list)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """Hash of the journals of all histories, in the order of their seeds."""
        return self._digest.hexdigest()

    def add(self, outcome: SimHistory | FailedHistory) -> None:
        """Count a history."""
        self.histories += 1
        if isinstance(outcome, FailedHistory):
            self.findings.append(outcome)
            self._digest.update(outcome.story.encode())
            return
        self.steps += outcome.steps
        self.ends.update(status.value for _, status in outcome.ends)
        self.fault_counts.update(dict(outcome.fault_counts))
        self._digest.update(outcome.digest.encode())


def simulate(
    first: int,
    histories: int,
    *,
    processes: int = 1,
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Run the histories of consecutive seeds; call ``progress`` after each chunk.

    Stops after a few failed histories.

    Raises
    ------
    UsageError
        Python runs without assertions, so nothing would be checked.
    """
    if not __debug__:
        msg = "with -O or PYTHONOPTIMIZE nothing is checked"
        raise UsageError(msg, hint="Run without it.")
    tally = Tally()
    for outcomes in _run_all(first, histories, processes):
        for outcome in outcomes:
            tally.add(outcome)
        progress(tally)
        if len(tally.findings) >= _MAX_FINDINGS:
            break
    return tally


def run_history(options: SimOptions) -> SimHistory | FailedHistory:
    """Run one history."""
    try:
        return World(options).run()
    except SimulationError as error:
        return FailedHistory(error.options, error.reason, error.story)


def _run_all(
    first: int, histories: int, processes: int
) -> Iterator[list[SimHistory | FailedHistory]]:
    chunks = [
        range(start, min(start + _CHUNK, first + histories))
        for start in range(first, first + histories, _CHUNK)
    ]
    if processes == 1:
        yield from map(_run_chunk, chunks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(_run_chunk, chunks)
        finally:
            pool.shutdown(cancel_futures=True)


def _run_chunk(seeds: range) -> list[SimHistory | FailedHistory]:
    return [run_history(SimOptions(seed)) for seed in seeds]
