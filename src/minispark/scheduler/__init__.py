"""The brain: which attempt runs where, and when a job is over. Pure: no clock, no IO, no chance.

`Scheduler` is loaded when it is first used: what only names states or commands need not wait.
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
