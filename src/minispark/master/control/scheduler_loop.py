"""The loop around the scheduler: commands are dispatched in order, and only when durable.

::

    event -> decide -> append -> (durable) -> dispatch -> readers

Nothing else is on this path. Readers of rows come last and are isolated (`views.job_reader`).

Covers: the loop, the scheduler's own time (which continues over a restart of the master), its one
timer, work beside the loop, and what happens while the journal cannot be written. Does not cover:
what each command means (`dispatch`), what a row looks like (`journal.rows`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, cast

from minispark.clock import monotonic_s
from minispark.errors import ErrorInfo
from minispark.journal.journal import Journal
from minispark.journal.rows import Evidence, Row, event_of
from minispark.logs import logger
from minispark.master.control.journal_writer import JournalWriter
from minispark.scheduler.commands import Command
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import Event, TimerFired, WorkerHeartbeat
from minispark.wire.http import RefusedError

Action = Callable[[], None]

_log = logger("master")


@dataclass(frozen=True, slots=True)
class LoopCallbacks:
    """What the loop calls."""

    snapshot: Callable[[float], None]
    """Writes the scheduler's state at a time into the journal."""
    carry_out: Callable[[Row | None, Sequence[Command]], None]
    """Acts on a durable row and its commands. The row is None for commands of an earlier master."""
    read: Callable[[Row], None]
    """Gives a row to the readers. Never raises."""
    on_failure: Callable[[], None]
    """The journal can never be written again, or a step of the master has failed."""
    on_trouble: Callable[[], None]
    """The journal cannot be written at the moment, or can be written again."""


class SchedulerLoop:
    """The loop around the scheduler. Everything in it runs on the event loop's thread."""

    _callbacks: LoopCallbacks

    def __init__(
        self, scheduler: Scheduler, journal: Journal, writer: JournalWriter, *, snapshot_steps: int
    ) -> None:
        self.scheduler = scheduler
        self.background: set[asyncio.Task[None]] = set()
        self._journal = journal
        self._writer = writer
        self._snapshot_steps = snapshot_steps
        self._steps = 0
        self._pending: deque[tuple[int, Action]] = deque()
        """Actions, and the number of the write that must be durable before each of them."""
        self._waiting: set[asyncio.Future[None]] = set()
        self._durable = 0
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = inf
        self._base_s = -monotonic_s()

    def resume(self, scheduler: Scheduler, *, now: float) -> None:
        """Continue with the scheduler of an earlier master, at the time at which that ended."""
        self.scheduler = scheduler
        self._base_s = now - monotonic_s()

    def now_s(self) -> float:
        """Return the scheduler's time; it stands still while there is no master."""
        return self._base_s + monotonic_s()

    def start(self, callbacks: LoopCallbacks) -> None:
        """Start the journal's writer; call it on the running event loop."""
        self._callbacks = callbacks
        loop = asyncio.get_running_loop()

        def call_soon(action: Action) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(action)

        self._journal.start(
            lambda number: call_soon(lambda: self._on_durable(number)),
            lambda: call_soon(self._on_trouble),
        )

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that takes time beside the loop; its failure is logged."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self._on_work_done)

    @property
    def trouble(self) -> str | None:
        """Why the journal cannot be written at the moment, None if it can."""
        journal = self._journal
        if journal.failure is not None:
            return str(journal.failure)
        return journal.trouble or ("it is too slow" if journal.behind else None)

    def require_writable(self) -> None:
        """Refuse a request that needs the journal while it cannot be written.

        Raises
        ------
        RefusedError
            503: the journal cannot be written.
        """
        if self.trouble is not None:
            raise self._refusal()

    def handle(self, happening: Event | Evidence) -> None:
        """Give the scheduler an event; its commands follow as soon as the row is durable."""
        plain, now = event_of(happening), self.now_s()
        evidence = None if plain is happening else cast("Evidence", happening)
        event = self.scheduler.decide(plain, now)
        # While the journal is down, facts of heartbeats and timers are dropped: both repeat.
        repeats = isinstance(happening, WorkerHeartbeat | TimerFired)
        if event is not None and not (repeats and self.trouble is not None):
            self._apply(event, now, evidence)
        self._set_timer()

    def redispatch(self, command: Command) -> None:
        """Dispatch a command of an earlier master that it may not have carried out."""
        self._callbacks.carry_out(None, (command,))

    def after_durable(self, action: Action) -> None:
        """Run an action once everything that was written so far is durable."""
        self._pending.append((self._journal.number, action))
        self._advance()

    async def durable(self) -> None:
        """Return once everything that was written so far is durable and carried out.

        Raises
        ------
        RefusedError
            503: the journal cannot be written.
        """
        self.require_writable()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(done)
        done.add_done_callback(self._waiting.discard)
        self.after_durable(lambda: None if done.done() else done.set_result(None))
        await done

    def _apply(self, event: Event, now: float, evidence: Evidence | None) -> None:
        try:
            commands = self.scheduler.apply(event, now)
            excluded = self.scheduler.excluded_workers()
            row = self._writer.step(event, now, commands, evidence=evidence, excluded=excluded)
        except Exception:
            # The scheduler is ahead of the journal now: no later row could be replayed.
            _log.exception("row_not_written", kind=event.kind)
            self._callbacks.on_failure()
            raise
        self.after_durable(partial(self._follow, row, commands))
        self._steps += 1
        if self._steps >= self._snapshot_steps:
            self.snapshot()

    def _follow(self, row: Row, commands: Sequence[Command]) -> None:
        self._callbacks.carry_out(row, commands)
        self._callbacks.read(row)

    def snapshot(self) -> None:
        """Write a snapshot: a restart begins there."""
        self._steps = 0
        self._callbacks.snapshot(self.now_s())

    def _on_durable(self, number: int) -> None:
        self._durable = number
        self._advance()

    def _on_trouble(self) -> None:
        trouble = self.trouble
        if trouble is not None:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_exception(self._refusal())
        if self._journal.failure is not None:
            self._callbacks.on_failure()
            return
        self._callbacks.on_trouble()
        if trouble is None:
            self.handle(TimerFired())

    def _advance(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            while self._pending and self._pending[0][0] <= self._durable:
                self._run(self._pending.popleft()[1])
        finally:
            self._busy = False

    def _run(self, action: Action) -> None:
        try:
            action()
        except Exception:
            # The step is half done: what follows would rest on a wrong state.
            _log.exception("step_failed")
            self._callbacks.on_failure()

    def _set_timer(self) -> None:
        """Set the timer to the time at which the scheduler needs an event."""
        wake_s = self.scheduler.wake_s
        if wake_s == self._timer_s:
            return
        self.stop()
        self._timer_s = wake_s
        if wake_s < inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, wake_s - self.now_s()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer_s = inf
        # While the journal is down the event would be dropped; `_on_trouble` sends it afterwards.
        if self.trouble is None:
            self.handle(TimerFired())

    def _on_work_done(self, task: asyncio.Task[None]) -> None:
        self.background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("background_work_failed", exc_info=task.exception())

    def _refusal(self) -> RefusedError:
        message = f"the master cannot write its journal: {self.trouble}"
        hint = "Nothing is lost. It continues automatically once its disk accepts writes again."
        return RefusedError(503, ErrorInfo("MS-114", message, hint=hint))
