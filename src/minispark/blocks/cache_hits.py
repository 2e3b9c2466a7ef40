"""Finds the tasks of a job that need not run, since a worker has cached their blocks.

Covers: asking a cache for blocks, and which tasks of a plan have to run. Does not cover: the cache
(`minispark.blocks.cache`), when rows are the same (`minispark.plan.fingerprint`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minispark.blocks.cache import cache_key
from minispark.blocks.meta import BlockMeta
from minispark.ids import TaskKey
from minispark.plan.stages import ReadMode, Stage, StageGraph


@dataclass(frozen=True, slots=True)
class CacheHit:
    """A task that was not run: its key in the job, and the worker that has its block."""

    key: TaskKey
    worker: str
    kept: TaskKey
    """The name of the block on that worker."""
    meta: BlockMeta


def cache_key_of(stage: Stage, partition: int) -> TaskKey | None:
    """Return the name under which the block of a task is cached, None if it is not."""
    if stage.cached is None or stage.cached.key is None:
        return None
    return cache_key(stage.cached.key, partition)


def find_cached(
    graph: StageGraph, job: str, find: Callable[[TaskKey], tuple[str, BlockMeta] | None]
) -> tuple[CacheHit, ...]:
    """Return the cached blocks that a job can use; ``find`` returns the worker of a block, if any.

    Blocks that only a task with a cached block would read are not searched for.
    """
    hits: list[CacheHit] = []

    def is_cached(stage: Stage, partition: int) -> bool:
        name = cache_key_of(stage, partition)
        entry = None if name is None else find(name)
        if name is None or entry is None:
            return False
        hits.append(CacheHit(TaskKey(job, stage.id, 0, partition, 0), entry[0], name, entry[1]))
        return True

    if any(stage.cached is not None for stage in graph.stages):
        tasks_to_run(graph, is_cached)
    return tuple(hits)


def tasks_to_run(
    graph: StageGraph, is_cached: Callable[[Stage, int], bool]
) -> Mapping[int, frozenset[int]]:
    """Return the partitions of each stage that have to run, since a task or a result reads them.

    ``is_cached`` is called once for each task whose rows are read.
    """
    stages = {stage.id: stage for stage in graph.stages}
    read = {leaf.stage for stage in graph.stages for b in stage.branches for leaf in b.inputs}
    ends = {result.stage for result in graph.results} | (stages.keys() - read)
    wanted = {number: set[int]() for number in stages}
    wanted |= {number: set(range(stages[number].partitions)) for number in ends}
    for stage in reversed(graph.stages):
        run = {task for task in sorted(wanted[stage.id]) if not is_cached(stage, task)}
        wanted[stage.id] = run
        for task in run:
            branch, number = stage.branch_of(task)
            for leaf in branch.inputs:
                if leaf.mode is ReadMode.FORWARD:
                    wanted[leaf.stage].add(number)
                elif len(wanted[leaf.stage]) < (count := stages[leaf.stage].partitions):
                    wanted[leaf.stage].update(range(count))
    return {stage: frozenset(run) for stage, run in wanted.items()}
