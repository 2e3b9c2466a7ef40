"""What a job need not compute, since a worker has kept it from an earlier one.

Covers: which tasks of a plan have to run, given what was found; asking a cache for those that
nobody need run. Does not cover: keeping (`minispark.blocks.cache`), when rows are the same
(`minispark.plan.fingerprint`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minispark.blocks.cache import kept_key
from minispark.blocks.meta import BlockMeta
from minispark.ids import TaskKey
from minispark.plan.stages import Branch, ReadMode, Stage, StageGraph


@dataclass(frozen=True, slots=True)
class CacheHit:
    """A task that was not run: as what it counts in its job, and where its block lies."""

    key: TaskKey
    worker: str
    kept: TaskKey
    """The name of the block on that worker."""
    meta: BlockMeta


def kept_name(stage: Stage, partition: int) -> TaskKey | None:
    """Return the name under which the block of a task is kept, None if it is not."""
    if stage.cached is None or stage.cached.key is None:
        return None
    return kept_key(stage.cached.key, partition)


def find_kept(
    graph: StageGraph, job: str, find: Callable[[TaskKey], tuple[str, BlockMeta] | None]
) -> tuple[CacheHit, ...]:
    """Ask for the blocks of a job's cached nodes; ``find`` says where one is, if anywhere.

    What only leads to something that was found is not asked for.
    """
    found: list[CacheHit] = []

    def ask(stage: Stage, partition: int) -> bool:
        name = kept_name(stage, partition)
        known = None if name is None else find(name)
        if name is None or known is None:
            return False
        key = TaskKey(job, stage.id, 0, partition, 0)
        found.append(CacheHit(key, known[0], name, known[1]))
        return True

    if any(stage.cached is not None for stage in graph.stages):
        tasks_to_run(graph, ask)
    return tuple(found)


def tasks_to_run(
    graph: StageGraph, is_there: Callable[[Stage, int], bool]
) -> Mapping[int, frozenset[int]]:
    """Return the partitions of each stage that have to run, since somebody reads them.

    ``is_there`` is asked once for each task that somebody reads.
    """
    wanted: dict[int, set[int]] = {stage.id: set() for stage in graph.stages}
    read = {entry.stage for s in graph.stages for b in s.branches for entry in b.inputs}
    wanted.update((s.id, set(range(s.partitions))) for s in graph.stages if s.id not in read)
    wanted.update((r.stage, set(range(_stage(graph, r.stage).partitions))) for r in graph.results)
    for stage in reversed(graph.stages):
        asked = sorted(wanted[stage.id])
        wanted[stage.id] = run = {number for number in asked if not is_there(stage, number)}
        for number in run:
            _ask_below(graph, wanted, *stage.branch_of(number))
    return {stage: frozenset(run) for stage, run in wanted.items()}


def _ask_below(
    graph: StageGraph, wanted: Mapping[int, set[int]], branch: Branch, number: int
) -> None:
    for entry in branch.inputs:
        if entry.mode is ReadMode.FORWARD:
            wanted[entry.stage].add(number)
        elif len(wanted[entry.stage]) < (count := _stage(graph, entry.stage).partitions):
            wanted[entry.stage].update(range(count))


def _stage(graph: StageGraph, number: int) -> Stage:
    found = graph.stages[number] if number < len(graph.stages) else None
    if found is not None and found.id == number:
        return found
    return next(stage for stage in graph.stages if stage.id == number)
