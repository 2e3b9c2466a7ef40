"""Where the next attempt goes.

1. Workers stand in line, the one that was given work longest ago first (round robin).
2. A worker is eligible when ``active_tasks <= min_load + max_load_diff``, and never leases more
   than its slots and ``max_prefetch``.
3. One with a free slot comes before one where the attempt would wait. How many may wait hangs on
   how long the tasks of the stage take (`prefetch`): none if long, up to ``max_prefetch`` if short.
4. One that is full or suspect gets nothing. One that is excluded gets nothing while somebody else
   would do: never is a job stranded because of it.
5. Workers on which the task failed are left out while any other is there.
6. An attempt that waits in a worker's line while another worker has a free slot is taken back
   after ``take_back_after_s`` and given to that one.
7. Among those as loaded as the first in line, the one that has most of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from minispark.scheduler.worker_index import LoadBuckets, WorkerIndex
from minispark.scheduler.workers import Worker


def choose(
    lines: WorkerIndex,
    *,
    avoid: Collection[str],
    ahead: int,
    near: Iterable[str],
    input_on: Callable[[str], int],
) -> Worker | None:
    """Return the worker for an attempt, None if it has to wait.

    ``near`` are workers that have much of the input, and ``input_on`` says how much; ``ahead``
    is the last place in line that the attempt may have, 0 if it needs a free slot.
    """
    for line in (lines.fit, lines.excluded):
        if not line.within(avoid):
            return _nearest(line, line.pick(avoid, ahead=ahead), avoid, near, input_on)
    for line in (lines.fit, lines.excluded):
        if line.members:
            return _nearest(line, line.pick((), ahead=ahead), (), near, input_on)
    return None


def _nearest(
    line: LoadBuckets,
    first: Worker | None,
    avoid: Collection[str],
    near: Iterable[str],
    input_on: Callable[[str], int],
) -> Worker | None:
    if first is None:
        return None
    best, most = first, None
    for name in near:
        if name == first.name or name in avoid or not line.alike(first.name, name):
            continue
        most = input_on(best.name) if most is None else most
        there = input_on(name)
        if there > most:
            best, most = line.members[name], there
    return best
