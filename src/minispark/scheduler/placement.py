"""Where the next attempt goes.

1. Workers stand in line, the one that was given work longest ago first (round robin).
2. A worker is eligible when ``active_tasks <= min_load + max_load_diff``, and never leases more
   than its slots and ``max_prefetch``.
3. One with a free slot comes before one where the attempt would wait.
4. Workers on which the task failed are left out while any other is UP.
5. An attempt that waits in a worker's line while another worker has a free slot is taken back
   after ``take_back_after_s`` and given to that one.
6. Among those as loaded as the first in line, the one that has most of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings

__all__ = ["choose", "with_room"]


def with_room(line: Collection[Worker], settings: SchedulerSettings) -> list[Worker]:
    """Return the workers that may lease one more attempt at all."""
    return [w for w in line if len(w.leased) < w.slots + settings.max_prefetch]


def choose(
    line: Collection[Worker],
    *,
    avoid: Collection[str],
    input_on: Callable[[str], int],
    settings: SchedulerSettings,
) -> Worker | None:
    """Return the worker for an attempt, None if it has to wait. ``line`` holds workers UP.

    A full worker does not hold back the others: it is no alternative.
    """
    room = with_room(line, settings)
    if not room:
        return None
    most = min(len(w.leased) for w in room) + settings.max_load_diff
    eligible = [w for w in room if len(w.leased) <= most]
    if avoid and any(w.name not in avoid for w in line):
        eligible = [w for w in eligible if w.name not in avoid]
    eligible = [w for w in eligible if len(w.leased) < w.slots] or eligible
    if not eligible:
        return None
    first = eligible[0]
    level = [w for w in eligible if len(w.leased) == len(first.leased)]
    return first if len(level) == 1 else max(level, key=lambda w: input_on(w.name))
