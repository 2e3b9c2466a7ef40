"""Signals that ask a process to end: heard one by one, never in the middle of cleaning up.

A terminal, a supervisor and an impatient user may send many within milliseconds. Each one that
Python turns into an exception ends whatever runs just then: the removal of a directory, a message
to the master. So servers hear them as calls, and a command that has been interrupted hears no
further one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_STOP = (signal.SIGTERM, signal.SIGINT)
_MOMENT_S = 1.0
"""Interrupts within this time are one; long enough for a request that cancels a job."""


class StopSignals:
    """SIGTERM and SIGINT of a server, from the beginning of a ``with`` block to its process's end.

    Each one is a call on the loop; those that come before `listen` are kept for it. After
    the block both are ignored: nothing is left to do but to end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._listener: Callable[[], None] | None = None
        self._early = 0

    def __enter__(self) -> StopSignals:
        def heard(_number: int, _frame: FrameType | None) -> None:
            self._loop.call_soon_threadsafe(self._pass_on)

        for number in _STOP:
            signal.signal(number, heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _STOP:
            signal.signal(number, signal.SIG_IGN)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` for each signal from now on, and for those that came before."""
        self._listener = listener
        for _ in range(self._early):
            listener()
        self._early = 0

    def _pass_on(self) -> None:
        if self._listener is None:
            self._early += 1
        else:
            self._listener()


class Interrupts:
    """A handler of SIGINT that raises KeyboardInterrupt for the first of several within a moment.

    Not for a process that runs queries of Polars for a user: Polars puts its own handler in place,
    and one that is installed after it makes long queries deaf to Ctrl-C.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._deaf_until_s = now()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Take a signal in."""
        now = self._now()
        if now >= self._deaf_until_s:
            self._deaf_until_s = now + _MOMENT_S
            raise KeyboardInterrupt

    def expect(self) -> None:
        """Take the next one for itself: it answers a question."""
        self._deaf_until_s = self._now()

    def install(self) -> None:
        """Handle SIGINT from now on."""
        signal.signal(signal.SIGINT, self)


interrupts = Interrupts()
"""The handler of a ``minispark`` command."""


def ignore_interrupts() -> None:
    """Ignore SIGINT until the process ends, which it is about to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
