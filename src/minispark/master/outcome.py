"""A finished job: all that is shown of it, and where its results lie.

The same model is kept in memory and in the journal, so a job looks the same before and after a
restart of the master.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from pydantic import BaseModel

from minispark.blocks.meta import BlockSource
from minispark.ids import TaskKey
from minispark.journal.rows import Registration
from minispark.observe.record import JobRecord
from minispark.observe.views import JobMetrics, JobView, StageRow
from minispark.plan.stages import SinkSpec, StageGraph
from minispark.scheduler.commands import BlockRef
from minispark.task.spec import SinkFile
from minispark.wire.messages import NodeBlocks

__all__ = [
    "Outcome",
    "Placed",
    "SinkOutput",
    "moved_outcome",
    "node_results",
    "sink_output",
    "sink_stages",
]


class Placed(BaseModel):
    """A block, and the worker that has it."""

    worker: str
    key: TaskKey


class SinkOutput(BaseModel):
    """Files that a job wrote; ``node`` is the result they are, where it has a name."""

    node: str | None = None
    path: str
    format: str
    files: list[str]
    """Names within ``path``, in partition order."""
    rows: int
    bytes: int


class Outcome(BaseModel):
    """A finished job."""

    view: JobView
    stages: list[StageRow]
    metrics: JobMetrics
    results: list[NodeBlocks] = []
    sinks: list[SinkOutput] = []
    placed: list[Placed] = []

    @classmethod
    def of(
        cls,
        record: JobRecord,
        *,
        results: list[NodeBlocks],
        sinks: list[SinkOutput],
        placed: list[Placed],
    ) -> Outcome:
        """Freeze what a job's record shows in the end."""
        return cls(
            view=record.view(),
            stages=record.stage_rows(),
            metrics=record.metrics(),
            results=results,
            sinks=sinks,
            placed=placed,
        )


def node_results(
    graph: StageGraph, refs: Iterable[BlockRef], sources: Mapping[BlockRef, BlockSource]
) -> list[NodeBlocks]:
    """Say where the rows of each result lie, in partition order."""
    by_stage: dict[int, list[BlockSource]] = {}
    for ref in sorted(refs, key=lambda ref: (ref.key.stage, ref.key.partition, ref.partition)):
        by_stage.setdefault(ref.key.stage, []).append(sources[ref])
    return [
        NodeBlocks(
            node=result.node,
            columns=result.columns,
            rows=sum(source.meta.rows for source in by_stage.get(result.stage, [])),
            blocks=tuple(by_stage.get(result.stage, [])),
        )
        for result in graph.results
        if result.stage not in sink_stages(graph)
    ]


def moved_outcome(outcome: Outcome, keys: Collection[TaskKey], holder: Registration) -> Outcome:
    """Say of results that they lie in blocks of another worker now."""
    results = []
    for result in outcome.results:
        blocks = tuple(
            replace(block, host=holder.host, directory=holder.directory, url=holder.url)
            if block.key in keys
            else block
            for block in result.blocks
        )
        results.append(result.model_copy(update={"blocks": blocks}))
    placed = [
        Placed(worker=holder.worker, key=one.key) if one.key in keys else one
        for one in outcome.placed
    ]
    return outcome.model_copy(update={"results": results, "placed": placed})


def sink_stages(graph: StageGraph) -> dict[int, SinkSpec]:
    """Return the sink of each stage that writes files."""
    return {stage.id: stage.output.sink for stage in graph.stages if stage.output.sink is not None}


def sink_output(
    graph: StageGraph, stage: int, files: Iterable[SinkFile], names: Iterable[str]
) -> SinkOutput:
    """Describe what a sink stage published: ``names`` are the files that were kept."""
    kept = list(names)
    found = {file.final: file for file in files}
    sink = sink_stages(graph)[stage]
    return SinkOutput(
        node=next((result.node for result in graph.results if result.stage == stage), None),
        path=sink.path,
        format=sink.format,
        files=kept,
        rows=sum(found[name].rows for name in kept),
        bytes=sum(found[name].bytes for name in kept),
    )
