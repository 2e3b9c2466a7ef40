"""The work of each stage of a job, for the estimate of its progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from minispark.observe.estimate import Estimate, RunningTask, StageWork, estimate
from minispark.observe.stage_state import StageState
from minispark.plan.stages import ReadMode

_OUT_SHARE = 0.15
"""Bytes that a stage writes for each byte that it reads, before one of its tasks has ended."""


_BLOCK_BYTE = 0.3
"""A byte of a block costs this part of a byte of a file: blocks are mapped and not parsed."""


def works(
    stages: Iterable[StageState], running: Mapping[int, Mapping[int, RunningTask]]
) -> list[StageWork]:
    """Return the work of stages, in order; ``running`` are the running tasks by stage and task."""
    bytes_out: dict[int, float] = {}
    found = []
    for state in stages:
        number, done = state.stage.id, len(state.reports)
        work = _work(state, running.get(number, {}), bytes_out)
        found.append(work)
        if done:
            bytes_out[number] = state.totals.bytes_out * state.stage.partitions / done
        else:
            bytes_out[number] = 0.0 if work.light else work.bytes * _OUT_SHARE
    return found


def finished_work(stages: Iterable[StageState]) -> Estimate:
    """Return how far a job is by its finished tasks alone."""
    return estimate(works(stages, {}), slots=0)


def _work(
    state: StageState, running: Mapping[int, RunningTask], bytes_out: Mapping[int, float]
) -> StageWork:
    missing = len(state.unneeded) + len(state.cached_blocks)
    tasks, done = state.stage.partitions - missing, state.tasks_there - missing
    open_tasks = [task for number, task in running.items() if not state.is_done(number)]
    return StageWork(
        tasks=tasks,
        done=done,
        # Of a task that must run again, the report is of its first run.
        done_s=state.totals.task_time_s * done / max(1, len(state.reports)),
        bytes=_bytes_in(state, bytes_out),
        running=tuple(open_tasks),
        light=state.counts_quotes,
    )


def _bytes_in(state: StageState, bytes_out: Mapping[int, float]) -> float:
    """Return the bytes of files and of blocks that the tasks of a stage read, as far as known."""
    blocks = sum(
        bytes_out.get(leaf.stage, 0.0) * (branch.partitions if leaf.mode is ReadMode.ALL else 1)
        for branch in state.stage.branches
        for leaf in branch.inputs
    )
    return state.file_bytes + _BLOCK_BYTE * blocks
