"""How many attempts may wait on a worker, so that a free slot does not wait for a round trip.

Short tasks are leased ahead, up to ``prefetch_s`` of work and ``max_prefetch`` attempts; long ones
are not. Does not cover: which worker (`placement`).
"""

from __future__ import annotations

from minispark.scheduler.stage import StageRun
from minispark.settings import SchedulerSettings

_LEAST_S = 1e-6


def prefetch_depth(stage: StageRun, settings: SchedulerSettings) -> int:
    """Return how many attempts of a stage may wait for the slots of one worker.

    It is a power of two, unless a setting limits it, so that it changes seldom and has few values.
    """
    if stage.prefetch_depth is None:
        stage.prefetch_depth = _ahead_of(stage, settings)
    return stage.prefetch_depth


def _ahead_of(stage: StageRun, settings: SchedulerSettings) -> int:
    typical_s = stage.typical_s
    if typical_s is None:
        return min(settings.first_prefetch, settings.max_prefetch)
    if typical_s > settings.prefetch_task_s:
        return 0
    # With a few long tasks among many empty ones the median may be 0 while the mean is not.
    fill = int(settings.prefetch_s / max(stage.mean_s, _LEAST_S))
    power = 1 << max(0, fill.bit_length() - 1)
    return min(settings.max_prefetch, max(settings.first_prefetch, power))
