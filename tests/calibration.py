"""What this machine can do just now: the unit for limits of processor time."""

from __future__ import annotations

import time


def python_loop_s() -> float:
    """Return the processor time of a fixed loop, some 30 ms; the least of three runs."""
    return min(_loop_s() for _ in range(3))


def _loop_s() -> float:
    before, number = time.thread_time(), 1
    for _ in range(300_000):
        number = (number * 1_103_515_245 + 12_345) & 0xFFFFFFFF
    return time.thread_time() - before
