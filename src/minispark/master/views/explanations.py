"""The stories of jobs, page by page; each story continues where it was when more is read."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from minispark.master.recovery.history import JobHistory
from minispark.observe.record import JobRecord
from minispark.ui import STEPS_PER_PAGE, StepPager, StoryDocument

_MAX_OPEN = 4
"""Stories in memory; one of a job of 10,000 tasks has some 10 MB."""


class _OpenStory:
    def __init__(self, record: JobRecord) -> None:
        self.pager = StepPager(record)
        self.lock = asyncio.Lock()


class Explanations:
    """Stories of jobs; a page is created, with all pages before it, when it is first read."""

    def __init__(self, history: JobHistory) -> None:
        self._history = history
        self._open: OrderedDict[str, _OpenStory] = OrderedDict()

    async def page(self, job: str, *, step: int, seq: int | None) -> StoryDocument:
        """Return the page with a step, by its number or by the number of its row.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        total = await self._history.count(job)
        if seq is not None:
            step = await self._history.count(job, before=seq) + 1
        entry = self._open.get(job)
        if entry is None:
            record = await self._history.new_record(job)
            entry = self._open.setdefault(job, _OpenStory(record))
        self._open.move_to_end(job)
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)
        pager = entry.pager
        until = min(-(-step // STEPS_PER_PAGE) * STEPS_PER_PAGE, total)
        async with entry.lock:
            while pager.count < until:
                rows = await self._history.rows(job, limit=STEPS_PER_PAGE, after=pager.last_seq)
                if not rows:
                    break
                await asyncio.to_thread(pager.take, rows)
        return pager.page(step, total=total)
