"""The plan of a running or ended job, as data for ``dag.js``: DAG nodes, stages, exchanges.

`minispark.plan.picture` draws a plan that did not run, for notebooks.
"""

from __future__ import annotations

from pydantic import BaseModel

from minispark.formatting import many
from minispark.observe.record import JobRecord
from minispark.observe.stage_state import StageState
from minispark.observe.views import RowStatus, StageRow
from minispark.plan.exchanges import describe_move, describe_output
from minispark.plan.stages import ReadMode, Stage, StageInput


class GraphNode(BaseModel):
    """A node of the user's DAG."""

    id: str
    reads: list[str]
    stages: list[int]
    """The stages of the node: two if it has a partial and a final step."""
    status: RowStatus
    records_out: int | None
    pushed_down: bool


class GraphStage(BaseModel):
    """A physical stage, and the nodes that are fused into it."""

    number: int
    name: str
    status: RowStatus
    tasks: int
    tasks_done: int
    label: str
    nodes: list[str]
    reads: list[str]
    """Descriptions of the input files."""
    writes: str
    why: str
    """Why the stage runs in one task, if it does."""
    pushed: list[str]
    records_out: int | None
    duration_s: float | None


class GraphEdge(BaseModel):
    """An exchange from one stage to another; ``bytes`` and ``rows`` are those written so far."""

    source: int
    target: int
    how: str
    bytes: int
    rows: int
    copies: int
    """Number of tasks that read all rows; 1 if every row is read once."""


class PlanGraph(BaseModel):
    """The plan of a job."""

    nodes: list[GraphNode]
    stages: list[GraphStage]
    exchanges: list[GraphEdge]


def plan_graph(record: JobRecord, rows: list[StageRow]) -> PlanGraph:
    """Return the plan of a job; ``rows`` is its stage table."""
    by_id = {row.id: row for row in rows if row.kind == "stage"}
    graph = record.graph
    return PlanGraph(
        nodes=[
            GraphNode(
                id=row.id,
                reads=list(graph.flow.get(row.id, ())),
                stages=[stage.id for stage in graph.stages if row.id in stage.nodes],
                status=row.status,
                records_out=row.records_out,
                pushed_down=row.pushed_down,
            )
            for row in rows
            if row.kind == "node"
        ],
        stages=[_stage(stage, by_id[f"stage-{stage.id}"]) for stage in graph.stages],
        exchanges=[
            _exchange(record.stages[entry.stage], stage, entry, partitions)
            for stage in graph.stages
            for entry, partitions in stage.readers
        ],
    )


def _stage(stage: Stage, row: StageRow) -> GraphStage:
    return GraphStage(
        number=stage.id,
        name=stage.name,
        status=row.status,
        tasks=row.tasks,
        tasks_done=row.tasks_done,
        label=stage.label.value,
        nodes=list(stage.nodes),
        reads=_reads(stage),
        writes="" if stage.output.sink is None else describe_output(stage.output),
        why=stage.why,
        pushed=list(stage.pushed),
        records_out=row.records_out,
        duration_s=row.duration_s,
    )


def _reads(stage: Stage) -> list[str]:
    texts = []
    for branch in stage.branches:
        for scan in branch.scans:
            splits = [split for task in scan.tasks for split in task]
            files = {split.path for split in splits}
            counts = f"{many(len(files), 'file')}, {many(len(splits), 'split')}"
            texts.append(f"{scan.spec.format.what}: {counts}")
    return list(dict.fromkeys(texts))


def _exchange(
    producer: StageState, consumer: Stage, entry: StageInput, partitions: int
) -> GraphEdge:
    reports = producer.reports.values()
    return GraphEdge(
        source=entry.stage,
        target=consumer.id,
        how=describe_move(producer.stage.output, entry.mode, readers=partitions),
        bytes=sum(report.block.bytes for report in reports),
        rows=sum(report.block.rows for report in reports),
        copies=partitions if entry.mode is ReadMode.ALL else 1,
    )
