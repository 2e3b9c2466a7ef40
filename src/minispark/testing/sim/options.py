"""The options of a history: a seed, and the parts that were left out to make it shorter."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

HEAL_S: Final = 60.0
"""Time at which all faults end; after that every job has to end."""


@dataclass(frozen=True, slots=True)
class SimOptions:
    """The options of one history. Equal options give equal histories, on every machine.

    ``jobs`` and ``workers`` are numbers of drawn jobs and workers to keep, ``without`` are kinds
    of faults to leave out, ``until_s`` ends all faults earlier.
    """

    seed: int
    jobs: tuple[int, ...] | None = None
    workers: tuple[int, ...] | None = None
    without: tuple[str, ...] = ()
    until_s: float = HEAL_S

    @property
    def command(self) -> str:
        """The command line that repeats the history."""
        words = ["minispark simulate", f"--seed {self.seed} --histories 1"]
        if self.jobs is not None:
            words.append(f"--only-jobs {','.join(map(str, self.jobs))}")
        if self.workers is not None:
            words.append(f"--only-workers {','.join(map(str, self.workers))}")
        if self.without:
            words.append(f"--without {','.join(self.without)}")
        if self.until_s != HEAL_S:
            words.append(f"--until {self.until_s:g}")
        return " ".join(words)


class RandomSource:
    """Random generators, one for each concern, so that leaving one out changes little else."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, concern: str) -> Random:
        """Return the generator of a concern; call it once for each."""
        return Random(f"{self._seed}/{concern}")  # noqa: S311 - repeatable on purpose
