"""How many attempts may wait on a worker for a slot, so that none stands idle for a round trip.

Short tasks are leased ahead, up to ``prefetch_s`` of work and ``max_prefetch`` attempts; long ones
are not. Covers: that. Does not cover: which worker (`placement`).
"""

from __future__ import annotations

from minispark.scheduler.stage import StageRun
from minispark.settings import SchedulerSettings

_LEAST_S = 1e-6


def prefetch_depth(stage: StageRun, settings: SchedulerSettings) -> int:
    """Return how many attempts of a stage may wait for the slots of one worker.

    A power of two, unless a setting says less: it is to change seldom, and to have few values.
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
    # A few long ones among many that do nothing: the median may be 0 where the mean is not.
    fill = int(settings.prefetch_s / max(stage.mean_s, _LEAST_S))
    power = 1 << max(0, fill.bit_length() - 1)
    return min(settings.max_prefetch, max(settings.first_prefetch, power))
