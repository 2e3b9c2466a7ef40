"""The loop around the scheduler: commands are dispatched in order, and only when durable.

::

    event -> decide -> append -> (durable) -> dispatch -> readers

Nothing else is on this path. Readers of rows come last and are isolated (`views.job_reader`).

Covers: the loop, the scheduler's own time (which continues over a restart of the master), its one
timer, and what happens while the journal cannot be written. Does not cover: what each command
means (`dispatch`), what a row looks like (`journal.rows`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Protocol, cast

from minispark.clock import monotonic_s
from minispark.errors import ErrorInfo
from minispark.journal.journal import Journal
from minispark.journal.rows import Evidence, Row, event_of
from minispark.logs import logger
from minispark.master.http.http_errors import RefusedError
from minispark.scheduler.commands import Command
from minispark.scheduler.core import Scheduler
from minispark.scheduler.events import Event, TimerFired, WorkerHeartbeat

Step = Callable[[], None]


class Append(Protocol):
    """Appends a step of the scheduler to the journal."""

    def __call__(
        self,
        event: Event,
        now: float,
        commands: Sequence[Command],
        *,
        evidence: Evidence | None,
        excluded: frozenset[str],
    ) -> Row:
        """Return the row that was appended."""


_log = logger("master")


@dataclass(frozen=True, slots=True)
class LoopCallbacks:
    """What the loop leaves to others."""

    append: Append
    """Put an event, its time, its evidence and what was decided into the journal."""
    snapshot: Callable[[float], None]
    """Put the scheduler's memory, as it is at a time, into the journal."""
    carry_out: Callable[[Row | None, Sequence[Command]], None]
    """Do what follows from a durable row. None for commands of an earlier life."""
    read: Callable[[Row], None]
    """Show a row to those who watch. Never raises."""
    on_failure: Callable[[], None]
    """The journal can never be written again, or a step of the master has failed."""
    on_trouble: Callable[[], None]
    """The journal cannot be written just now, or can again."""


class SchedulerLoop:
    """The loop around the scheduler. Everything in it runs on the event loop's thread."""

    def __init__(
        self, scheduler: Scheduler, journal: Journal, work: LoopCallbacks, *, snapshot_steps: int
    ) -> None:
        self.scheduler = scheduler
        self._journal = journal
        self._work = work
        self._snapshot_steps = snapshot_steps
        self._steps = 0
        self._pending: deque[tuple[int, Step]] = deque()
        """Steps, and how far the journal must be durable before each is taken."""
        self._waiting: set[asyncio.Future[None]] = set()
        self._durable = 0
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = inf
        self._base_s = -monotonic_s()

    def resume(self, scheduler: Scheduler, *, now: float) -> None:
        """Go on with the scheduler of an earlier life, at the time at which that ended."""
        self.scheduler = scheduler
        self._base_s = now - monotonic_s()

    def now_s(self) -> float:
        """The scheduler's own time: it stood still while there was no master."""
        return self._base_s + monotonic_s()

    def start(self) -> None:
        """Start the journal's writer; call it on the running loop."""
        loop = asyncio.get_running_loop()

        def tell(step: Step) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(step)

        self._journal.start(
            lambda number: tell(lambda: self._on_durable(number)),
            lambda: tell(self._troubled),
        )

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written just now, None if it can."""
        journal = self._journal
        if journal.failure is not None:
            return str(journal.failure)
        return journal.trouble or ("it is too slow" if journal.behind else None)

    def require_writable(self) -> None:
        """Refuse what would have to be written while it cannot be.

        Raises
        ------
        RefusedError
            503: the journal cannot be written.
        """
        if self.trouble is not None:
            raise self._cannot_write()

    def handle(self, happening: Event | Evidence) -> None:
        """Give the scheduler an event; its commands follow as soon as the row is durable."""
        said, now = event_of(happening), self.now_s()
        evidence = None if said is happening else cast("Evidence", happening)
        event = self.scheduler.decide(said, now)
        # What a heartbeat or the clock brings comes again; only the sign of life counts now.
        passing = isinstance(happening, WorkerHeartbeat | TimerFired) and self.trouble is not None
        if event is not None and not passing:
            self._apply(event, now, evidence)
        self._set_timer()

    def redispatch(self, command: Command) -> None:
        """Carry out what an earlier life of the master decided, and perhaps did not do."""
        self._work.carry_out(None, (command,))

    def after_durable(self, step: Step) -> None:
        """Do something once all that was written so far is durable."""
        self._enqueue(step)

    async def durable(self) -> None:
        """Return once all that was written so far is durable and carried out.

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
            row = self._work.append(event, now, commands, evidence=evidence, excluded=excluded)
        except Exception:
            # The scheduler is ahead of the journal now: no later row could be replayed.
            _log.exception("row_not_written", kind=event.kind)
            self._work.on_failure()
            raise
        self._enqueue(partial(self._follow, row, commands))
        self._steps += 1
        if self._steps >= self._snapshot_steps:
            self.snapshot()

    def _follow(self, row: Row, commands: Sequence[Command]) -> None:
        """Carry out a row that is durable, and then show it."""
        self._work.carry_out(row, commands)
        self._work.read(row)

    def snapshot(self) -> None:
        """Write a snapshot: a restart begins there."""
        self._steps = 0
        self._work.snapshot(self.now_s())

    def _enqueue(self, step: Step) -> None:
        """Take a step once all that was written so far is durable."""
        self._pending.append((self._journal.number, step))
        self._advance()

    def _on_durable(self, number: int) -> None:
        self._durable = number
        self._advance()

    def _troubled(self) -> None:
        trouble = self.trouble
        if trouble is not None:
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(self._cannot_write())
        if self._journal.failure is not None:
            self._work.on_failure()
            return
        self._work.on_trouble()
        if trouble is None:
            self.handle(TimerFired())

    def _advance(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            while self._pending and self._pending[0][0] <= self._durable:
                self._take(self._pending.popleft()[1])
        finally:
            self._busy = False

    def _take(self, step: Step) -> None:
        try:
            step()
        except Exception:
            # Half of a step is done: whatever came next would build on sand.
            _log.exception("step_failed")
            self._work.on_failure()

    def _set_timer(self) -> None:
        """Ask to be called when the scheduler wants to be."""
        wake_s = self.scheduler.wake_s
        if wake_s == self._timer_s:
            return
        self.stop()
        self._timer_s = wake_s
        if wake_s < inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, wake_s - self.now_s()), self._fire)

    def _fire(self) -> None:
        self._timer_s = inf
        # With trouble, the clock's demands are met when it is over.
        if self.trouble is None:
            self.handle(TimerFired())

    def _cannot_write(self) -> RefusedError:
        message = f"the master cannot write its journal: {self.trouble}"
        hint = "Nothing is lost; it goes on by itself once its disk takes something again."
        return RefusedError(503, ErrorInfo("MS-114", message, hint=hint))
