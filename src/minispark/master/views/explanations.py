"""Tells the journals of jobs, page by page, and goes on where it was when more is asked for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from minispark.master.recovery.history import JobHistory
from minispark.observe.record import JobRecord
from minispark.ui import STEPS_PER_PAGE, StepPager, StoryDocument

_KEPT = 4
"""Stories that are looked at again; of a job of 10,000 tasks one is some 10 MB."""


class _Kept:
    def __init__(self, record: JobRecord) -> None:
        self.plot = StepPager(record)
        self.lock = asyncio.Lock()


class Explanations:
    """A page is told when it is asked for, with all before it that was not: each line once."""

    def __init__(self, history: JobHistory) -> None:
        self._history = history
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def page(self, job: str, *, step: int, seq: int | None) -> StoryDocument:
        """Return the page with a step by its number, or by the line that it tells.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        total = await self._history.count(job)
        if seq is not None:
            step = await self._history.count(job, before=seq) + 1
        kept = self._kept.get(job)
        if kept is None:
            record = await self._history.new_record(job)
            kept = self._kept.setdefault(job, _Kept(record))
        self._kept.move_to_end(job)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        plot = kept.plot
        until = min(-(-step // STEPS_PER_PAGE) * STEPS_PER_PAGE, total)
        async with kept.lock:
            while plot.told < until:
                rows = await self._history.rows(job, limit=STEPS_PER_PAGE, after=plot.last)
                if not rows:
                    break
                await asyncio.to_thread(plot.take, rows)
        return plot.page(step, total=total)
