"""What a history is made of: a seed, and what was left out to make it short."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

HEAL_S: Final = 60.0
"""Faults end then; from then on everything works, and every job has to end."""


@dataclass(frozen=True, slots=True)
class SimOptions:
    """One history. The same recipe is the same history, on every machine.

    ``jobs`` and ``workers`` keep only those of what the seed draws, ``without`` leaves kinds of
    faults out, ``until_s`` ends all faults earlier.
    """

    seed: int
    jobs: tuple[int, ...] | None = None
    workers: tuple[int, ...] | None = None
    without: tuple[str, ...] = ()
    until_s: float = HEAL_S

    @property
    def command(self) -> str:
        """The command line that makes it again."""
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


class Chances:
    """A generator for each concern, so that one left out changes little elsewhere."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, concern: str) -> Random:
        """Return the generator of a concern; ask once for each."""
        return Random(f"{self._seed}/{concern}")  # noqa: S311 - chance that can be made again
