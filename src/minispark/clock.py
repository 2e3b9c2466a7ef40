"""The only caller of time."""

from __future__ import annotations

import time


def monotonic_s() -> float:
    """Seconds on a clock that never goes back; meaningless outside this process."""
    return time.monotonic()


def wall_s() -> float:
    """Seconds since the epoch, for people to read."""
    return time.time()
