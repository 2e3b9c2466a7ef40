"""The plan of a job that runs or ran, as data for the page, which draws it (``dag.js``).

DAG nodes, the stages they were fused into, exchanges. A plan that did not run has a picture of
its own, for notebooks (`minispark.plan.picture`).
"""

from __future__ import annotations

from pydantic import BaseModel

from minispark.formatting import many
from minispark.observe.record import JobRecord
from minispark.observe.tables import StageState
from minispark.observe.views import RowStatus, StageRow
from minispark.plan.exchanges import describe_move, describe_output
from minispark.plan.stages import ReadMode, Stage, StageInput


class GraphNode(BaseModel):
    """A node of the DAG as its author wrote it."""

    id: str
    reads: list[str]
    stages: list[int]
    """The stages that it runs in: two where it is cut into a partial and a final step."""
    status: RowStatus
    records_out: int | None
    pushed_down: bool


class GraphStage(BaseModel):
    """A physical stage, and the nodes that were fused into it."""

    number: int
    name: str
    status: RowStatus
    tasks: int
    tasks_done: int
    label: str
    nodes: list[str]
    reads: list[str]
    """Input files, in words."""
    writes: str
    why: str
    """Why it runs in one task, where it does."""
    pushed: list[str]
    records_out: int | None
    duration_s: float | None


class GraphEdge(BaseModel):
    """Rows on their way from one stage to another; ``bytes`` and ``rows`` so far."""

    source: int
    target: int
    how: str
    bytes: int
    rows: int
    copies: int
    """Tasks that each read all of it; 1 where every row is read once."""


class PlanGraph(BaseModel):
    """All of it."""

    nodes: list[GraphNode]
    stages: list[GraphStage]
    exchanges: list[GraphEdge]


def plan_graph(record: JobRecord, rows: list[StageRow]) -> PlanGraph:
    """Draw the plan of a job; ``rows`` is its stage table."""
    by_id = {row.id: row for row in rows if row.kind == "stage"}
    graph = record.graph
    flow = graph.flow
    nodes = [
        GraphNode(
            id=row.id,
            reads=list(flow.get(row.id, ())),
            stages=[stage.id for stage in graph.stages if row.id in stage.nodes],
            status=row.status,
            records_out=row.records_out,
            pushed_down=row.pushed_down,
        )
        for row in rows
        if row.kind == "node"
    ]
    return PlanGraph(
        nodes=nodes,
        stages=[_stage(stage, by_id[f"stage-{stage.id}"]) for stage in graph.stages],
        exchanges=[
            _exchange(record.stages[entry.stage], stage, entry, partitions)
            for stage in graph.stages
            for entry, partitions in _inputs(stage)
        ],
    )


def _inputs(stage: Stage) -> list[tuple[StageInput, int]]:
    """Return what a stage reads of each other stage, once, with the tasks that read it."""
    found: dict[tuple[int, ReadMode], tuple[StageInput, int]] = {}
    for branch in stage.branches:
        for entry in branch.inputs:
            _, before = found.get((entry.stage, entry.mode), (entry, 0))
            found[entry.stage, entry.mode] = (entry, before + branch.partitions)
    return list(found.values())


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
    found = []
    for branch in stage.branches:
        for scan in branch.scans:
            splits = [split for task in scan.tasks for split in task]
            files = {split.path for split in splits}
            cut = f"{many(len(files), 'file')}, {many(len(splits), 'split')}"
            found.append(f"{scan.spec.format.what}: {cut}")
    return list(dict.fromkeys(found))


def _exchange(
    producer: StageState, consumer: Stage, entry: StageInput, partitions: int
) -> GraphEdge:
    reports = producer.reports.values()
    how = describe_move(
        producer.stage.output, entry.mode, readers=partitions, gathers=consumer.partitions == 1
    )
    return GraphEdge(
        source=entry.stage,
        target=consumer.id,
        how=how,
        bytes=sum(report.block.bytes for report in reports),
        rows=sum(report.block.rows for report in reports),
        copies=partitions if entry.mode is ReadMode.ALL else 1,
    )
