"""Handlers of the signals that end a process, which never interrupt its cleaning up.

A terminal, a supervisor and an impatient user may send many signals within milliseconds. A signal
that becomes an exception ends the code that runs at that moment, such as the removal of a directory
or a message to the master. So servers get signals as calls, and a command that was interrupted
ignores further interrupts.
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
"""Interrupts within this time count as one; long enough for a request that cancels a job."""


class StopSignals:
    """SIGTERM and SIGINT of a server, from the begin of a ``with`` block to the end of the process.

    Each signal becomes a call on the loop; signals before `listen` are kept for it. After the block
    both are ignored, since the process ends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._listener: Callable[[], None] | None = None
        self._early = 0

    def __enter__(self) -> StopSignals:
        def pass_on(_number: int, _frame: FrameType | None) -> None:
            self._loop.call_soon_threadsafe(self._pass_on)

        for number in _STOP:
            signal.signal(number, pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _STOP:
            signal.signal(number, signal.SIG_IGN)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` for each earlier signal now, and for each later one when it comes."""
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
    """A handler of SIGINT that raises KeyboardInterrupt for the first of several signals.

    Not for a process that runs queries of Polars for a user: Polars installs its own handler, and a
    handler that is installed later stops Ctrl-C from ending long queries.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._ignored_until_s = now()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, unless an earlier signal did so just before."""
        now = self._now()
        if now >= self._ignored_until_s:
            self._ignored_until_s = now + _MOMENT_S
            raise KeyboardInterrupt

    def expect(self) -> None:
        """Let the next signal interrupt at once: it answers a question."""
        self._ignored_until_s = self._now()

    def install(self) -> None:
        """Handle SIGINT from now on."""
        signal.signal(signal.SIGINT, self)


interrupts = Interrupts()
"""The handler in a ``minispark`` command."""


def ignore_interrupts() -> None:
    """Ignore SIGINT in a process that is about to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
