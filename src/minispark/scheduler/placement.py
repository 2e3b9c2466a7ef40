"""Which worker gets the next attempt.

1. Workers are ordered by when they last got work, the longest ago first (round robin).
2. A worker is eligible when ``active_tasks <= min_load + max_load_diff``, and never leases more
   than its slots and ``max_prefetch``.
3. A worker with a free slot comes before one where the attempt would wait. How many may wait
   depends on the run time of the stage's tasks (`job_queue`): none if long, up to ``max_prefetch``
   if short.
4. A full or suspect worker gets nothing. An excluded one gets nothing while another worker can take
   the task, so that exclusion never strands a job.
5. Workers on which the task failed are avoided while there is any other.
6. An attempt that waits on a worker while another worker has a free slot is taken back after
   ``take_back_after_s`` and given to that worker.
7. Among workers with the load of the first one, the worker with most of the input is chosen.
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

    ``near`` are workers that have much of the input, and ``input_on`` says how much. ``ahead`` is
    the largest queue position that the attempt may have; 0 means that it needs a free slot.
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
    best, most_rows = first, None
    for name in near:
        if name == first.name or name in avoid or not line.alike(first.name, name):
            continue
        most_rows = input_on(best.name) if most_rows is None else most_rows
        rows = input_on(name)
        if rows > most_rows:
            best, most_rows = line.members[name], rows
    return best
