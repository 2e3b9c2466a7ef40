"""The faults of a history: which kinds it has, and how often each occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from random import Random
from typing import Final

RATES: Final[Mapping[str, tuple[float, str]]] = {
    "lost": (0.3, "a message, or its answer, is lost"),
    "doubled": (0.5, "a message arrives twice"),
    "late": (0.5, "a message takes up to 15 s, and others overtake it"),
    "peer": (0.1, "a worker cannot read from another that is well"),
    "vanish": (0.3, "a block is gone when it is to be read"),
    "corrupt": (0.2, "a block does not fit its checksum when it is read"),
    "failing": (0.2, "an attempt fails: it raises, runs out of memory or time, loses its executor"),
    "fatal": (0.05, "an attempt meets bad data, or raises the same sentence each time"),
    "lying": (0.5, "a stage that is said to be repeatable gives other rows each time"),
    "straggling": (0.2, "an attempt takes ten times as long"),
    "commit": (1.0, "the files of a job cannot be published"),
}
"""Kinds that occur on an occasion with a probability: its upper limit, and what happens."""

EVERY: Final[Mapping[str, tuple[tuple[float, ...], str]]] = {
    "crash": ((60.0, 20.0, 8.0), "a worker's process ends, with its blocks; it comes back"),
    "goodbye": ((60.0, 20.0), "a worker says goodbye and ends; it comes back"),
    "hang": ((60.0, 20.0), "a worker stands still, then goes on as if nothing had been"),
    "clock": ((30.0,), "a worker's clock jumps: its heartbeats come early or late"),
    "cut": ((40.0, 15.0), "workers are cut off from the master, both ways, for a while"),
    "one-way": ((40.0, 15.0), "messages get through in one direction only"),
    "drain": ((60.0, 15.0), "a worker wants to leave"),
    "full": ((40.0, 15.0), "a worker's disk is full, and it says so"),
    "restart": ((60.0, 20.0), "the master is killed and started again on its state directory"),
    "power": (
        (60.0, 20.0),
        "the machine of the master loses power, and its last writes",
    ),
    "disk-full": ((40.0, 15.0), "the master's journal cannot be written for a while"),
    "disk-slow": ((20.0,), "the master's journal takes up to two seconds for a write"),
    "twin": ((60.0,), "a second master is started on a copy of the state directory"),
    "wipe": ((90.0,), "the state directory is wiped and a new master started"),
}
"""Kinds that occur from time to time: possible mean times in between, and what happens."""

KINDS: Final[Mapping[str, str]] = {
    **{kind: meaning for kind, (_, meaning) in RATES.items()},
    **{kind: meaning for kind, (_, meaning) in EVERY.items()},
}

_QUIET = 0.05
"""Share of histories without a fault."""


class Faults:
    """The kinds of faults that may occur.

    ``counts`` has those that occurred: only these may be the reason why a job fails.
    """

    def __init__(self, rng: Random, without: Collection[str] = ()) -> None:
        # A history with few kinds of faults tests each kind more deeply.
        share = 0.0 if rng.random() < _QUIET else rng.choice((0.1, 0.3, 0.6))
        self._rate: dict[str, float] = {}
        self._every_s: dict[str, float] = {}
        for kind, (max_rate, _) in RATES.items():
            drawn, chosen = max_rate * rng.random(), rng.random() < share
            self._rate[kind] = drawn if chosen and kind not in without else 0.0
        for kind, (times, _) in EVERY.items():
            every_s, chosen = rng.choice(times), rng.random() < share
            self._every_s[kind] = every_s if chosen and kind not in without else 0.0
        self.drawn = ", ".join(self._sizes()) or "none"
        """The drawn kinds, as text."""
        self.counts: Counter[str] = Counter()
        self._rng = rng

    @property
    def active(self) -> tuple[str, ...]:
        """The kinds that may occur."""
        sizes = {**self._rate, **self._every_s}
        return tuple(kind for kind, size in sizes.items() if size)

    def occurs(self, kind: str) -> bool:
        """Whether a fault of a kind happens on this occasion."""
        rate = self._rate[kind]
        if not rate or self._rng.random() >= rate:
            return False
        self.counts[kind] += 1
        return True

    def pause_s(self, kind: str) -> float | None:
        """Return the time until the next fault of a kind, None for never."""
        every_s = self._every_s[kind]
        return self._rng.random() * 2 * every_s if every_s else None

    def heal(self) -> None:
        """Let no more faults occur."""
        for sizes in (self._rate, self._every_s):
            sizes.update(dict.fromkeys(sizes, 0.0))

    def _sizes(self) -> list[str]:
        rates = [f"{kind} {rate:.3f}" for kind, rate in self._rate.items() if rate]
        return rates + [f"{kind} every {s:g} s" for kind, s in self._every_s.items() if s]
