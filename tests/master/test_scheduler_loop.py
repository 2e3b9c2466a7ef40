"""The loop around the scheduler: what happens when a row cannot be appended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from minispark.journal.rows import Registration
from minispark.master.control.scheduler_loop import LoopCallbacks, SchedulerLoop
from minispark.scheduler.core import Scheduler
from minispark.settings import SchedulerSettings


class Unwritten:
    """A journal that takes nothing and has no trouble with its disk."""

    number = 0
    failure = trouble = None
    behind = False

    def start(self, *_: Any) -> None:
        """Start nothing."""


class BrokenWriter:
    """Cannot write any row."""

    def step(self, *_: Any, **__: Any) -> Any:
        raise KeyError("no such job")


def test_a_row_that_cannot_be_appended_stops_the_master() -> None:
    """The scheduler is ahead of its journal then: nothing more may be decided or dispatched."""
    calls: list[str] = []

    def note(name: str) -> Any:
        return lambda *_: calls.append(name)

    callbacks = LoopCallbacks(
        snapshot=note("snapshot"),
        carry_out=note("carry out"),
        read=note("read"),
        on_failure=note("failure"),
        on_trouble=note("trouble"),
    )
    journal: Any = Unwritten()
    writer: Any = BrokenWriter()
    scheduler = Scheduler(SchedulerSettings())
    loop = SchedulerLoop(scheduler, journal, writer, snapshot_steps=1)
    worker = Registration(worker="w", epoch=1, slots=1, url="", host="", directory="")

    async def run() -> None:
        loop.start(callbacks)
        with pytest.raises(KeyError):
            loop.handle(worker)

    asyncio.run(run())
    assert calls == ["failure"]
