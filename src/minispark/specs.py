"""Conversion of a plan to the specs of the scheduler (`JobSpec`) and of an executor (`TaskSpec`).

The scheduler gets shapes and edges only; an executor gets one task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from minispark.blocks.cache_hits import CacheHit, cache_key_of
from minispark.blocks.meta import BlockMeta, BlockSource
from minispark.ids import TaskKey
from minispark.plan.stages import Branch, OutputKind, StageGraph
from minispark.scheduler.commands import BlockRef, LaunchTask
from minispark.scheduler.spec import CachedOutput, JobSpec, StageBranch, StageSpec
from minispark.task.spec import FragmentKey, TaskInput, TaskSpec, scan_task


def job_spec(
    graph: StageGraph, job_id: str, *, weight: float = 1.0, hits: Iterable[CacheHit] = ()
) -> JobSpec:
    """Return the job for the scheduler; ``weight`` is the job's share of the workers."""
    results = {result.stage for result in graph.results}
    return JobSpec(
        job=job_id,
        weight=weight,
        found=tuple(
            CachedOutput(hit.key.stage, hit.key.partition, hit.worker, hit.meta.receipt)
            for hit in hits
        ),
        stages=tuple(
            StageSpec(
                id=stage.id,
                branches=tuple(_branch(branch) for branch in stage.branches),
                label=stage.label,
                # A result that is written as files leaves no block to keep.
                result=stage.id in results and stage.output.kind is not OutputKind.SINK,
                sink=stage.output.kind is OutputKind.SINK,
            )
            for stage in graph.stages
        ),
    )


def task_spec(
    graph: StageGraph,
    launch: LaunchTask,
    sources: Callable[[BlockRef], BlockSource],
    *,
    timeout_s: float | None = None,
) -> TaskSpec:
    """Return the task for an executor, without its fragment; ``sources`` locates a block.

    Raises
    ------
    KeyError
        ``sources`` does not know a block, or the graph has no such stage.
    """
    key = launch.key
    stage = next((stage for stage in graph.stages if stage.id == key.stage), None)
    if stage is None:
        raise KeyError(key.stage)
    branch, number = stage.branch_of(key.partition)
    takes = {entry.leaf: entry.take for entry in branch.inputs}
    return TaskSpec(
        key=key,
        fragment=b"",
        scans=tuple(scan_task(scan, number) for scan in branch.scans),
        inputs=tuple(
            TaskInput(
                leaf=leaf.leaf,
                stage=leaf.stage,
                generation=leaf.generation,
                blocks=tuple(sources(ref) for ref in leaf.blocks),
                take=takes[leaf.leaf],
            )
            for leaf in launch.inputs
        ),
        output=stage.output,
        optimizations=stage.optimizations,
        timeout_s=timeout_s,
        keep=cache_key_of(stage, key.partition),
        branch=next(i for i, other in enumerate(stage.branches) if other is branch),
    )


def fragment(graph: StageGraph, key: FragmentKey) -> bytes:
    """Return the fragment of a branch.

    Raises
    ------
    KeyError
        The graph has no such branch.
    """
    branches = next((stage.branches for stage in graph.stages if stage.id == key.stage), ())
    if key.branch >= len(branches):
        raise KeyError(key)
    return branches[key.branch].fragment


def block_source(
    ref: BlockRef,
    meta: BlockMeta,
    *,
    host: str,
    directory: str,
    url: str | None = None,
    kept: TaskKey | None = None,
) -> BlockSource:
    """Return the location of one partition of a block; ``kept`` is its name in a cache, if any."""
    return BlockSource(
        key=ref.key,
        partition=ref.partition,
        meta=meta.partitions[ref.partition],
        host=host,
        directory=directory,
        url=url,
        kept=kept,
    )


def _branch(branch: Branch) -> StageBranch:
    # The scheduler needs no number of rows.
    return StageBranch(branch.partitions, tuple(replace(leaf, take=None) for leaf in branch.inputs))
