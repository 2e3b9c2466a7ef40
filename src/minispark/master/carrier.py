"""Carries out what the scheduler orders, in order and never before it is durable.

::

    event -> scheduler.step -> commands -> journal -> (durable) -> carry out -> more events

Covers: that loop and the timer. Does not cover: what each command means (`service`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from minispark.clock import monotonic_s
from minispark.errors import ErrorInfo
from minispark.master.answers import RefusedError
from minispark.observe.journal import Journal
from minispark.scheduler.commands import Command
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import Event, TimerFired

__all__ = ["Carrier"]

Step = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Pending:
    number: int
    """Carried out once the journal is durable up to here."""
    steps: tuple[Step, ...]


class Carrier:
    """The loop around the scheduler. Everything in it runs on the event loop's thread."""

    def __init__(
        self,
        scheduler: Scheduler,
        journal: Journal,
        *,
        write: Callable[[Event, list[Command]], None],
        carry_out: Callable[[Command], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._scheduler = scheduler
        self._journal = journal
        self._write = write
        self._carry_out = carry_out
        self._on_failure = on_failure
        self._pending: deque[_Pending] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        self._durable = 0
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._wake_s = inf

    def start(self) -> None:
        """Start the journal's writer; call it on the running loop."""
        loop = asyncio.get_running_loop()

        def tell(step: Step) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(step)

        self._journal.start(
            lambda number: tell(lambda: self._made_durable(number)),
            lambda: tell(self._troubled),
        )

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def feed(self, event: Event) -> None:
        """Tell the scheduler; its commands follow as soon as they may."""
        commands = self._scheduler.step(event, monotonic_s())
        self._set_timer(self._scheduler.wake_s)
        before = self._journal.number
        self._write(event, commands)
        written = self._journal.number
        # What writes nothing still waits its turn behind what does.
        number = written if written > before else 0
        self._enqueue(number, [self._step_of(command) for command in commands])

    def after_durable(self, step: Step) -> None:
        """Do something once all that was written so far is durable."""
        self._enqueue(self._journal.number, [step])

    async def durable(self) -> None:
        """Return once all that was written so far is durable and carried out.

        Raises
        ------
        RefusedError
            The journal cannot be written any more.
        """
        if self._journal.failure is not None:
            raise _cannot_write()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(done)
        done.add_done_callback(self._waiting.discard)
        self.after_durable(lambda: None if done.done() else done.set_result(None))
        await done

    def _enqueue(self, number: int, steps: Iterable[Step]) -> None:
        self._pending.append(_Pending(number, tuple(steps)))
        self._advance()

    def _troubled(self) -> None:
        if self._journal.failure is not None:
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(_cannot_write())
            self._on_failure()

    def _made_durable(self, number: int) -> None:
        self._durable = number
        self._advance()

    def _advance(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            while self._pending and self._pending[0].number <= self._durable:
                for step in self._pending.popleft().steps:
                    step()
        finally:
            self._busy = False

    def _step_of(self, command: Command) -> Step:
        return lambda: self._carry_out(command)

    def _set_timer(self, at_s: float) -> None:
        if at_s == self._wake_s:
            return
        self.stop()
        self._wake_s = at_s
        if at_s < inf:
            delay = max(0.0, at_s - monotonic_s())
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._wake_s = inf
        self.feed(TimerFired())


def _cannot_write() -> RefusedError:
    info = ErrorInfo("MS-114", "the master cannot write its journal and stops")
    return RefusedError(503, info)
