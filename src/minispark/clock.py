"""The clocks of a process; only this module reads the time."""

from __future__ import annotations

import time


def monotonic_s() -> float:
    """Return seconds on a clock that never goes back; its zero differs in each process."""
    return time.monotonic()


def wall_s() -> float:
    """Return seconds since 1970, for people to read."""
    return time.time()
