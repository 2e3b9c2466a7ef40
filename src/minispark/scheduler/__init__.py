"""The scheduler: which attempt runs where, and when a job ends. Pure: no clock, IO or randomness.

`Scheduler` is imported at its first use: modules that only need states or commands start faster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minispark.scheduler.core import Scheduler

__all__ = ["Scheduler"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module 'minispark.scheduler' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module("minispark.scheduler.core"), name)
