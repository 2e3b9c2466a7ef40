"""The stage table and the metrics of a job, computed from its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from minispark.observe.stage_state import StageState
from minispark.observe.views import JobMetrics, NodeMetrics, RowStatus, StageRow
from minispark.plan.stages import StageGraph
from minispark.scheduler.commands import JobStatus

_MIN_TIME_S = 1e-6
"""A shorter time is below the clock's resolution and gives no rate."""


@dataclass(frozen=True, slots=True)
class Troubles:
    """Retries and failures of a job."""

    retries: int
    failures: dict[str, int]
    by_worker: dict[str, int]
    last_at: float | None


class Record(Protocol):
    """The part of a job's record that the tables use."""

    job_id: str
    name: str
    graph: StageGraph
    stages: dict[int, StageState]

    @property
    def status(self) -> JobStatus:
        """The status of the job."""


def node_rows(record: Record) -> Iterable[StageRow]:
    """Yield one row per node of the DAG, in DAG order."""
    flow = record.graph.flow
    counts = _node_counts(record)
    names = dict.fromkeys([*flow, *(n for s in record.graph.stages for n in s.nodes)])
    for node in names:
        states = [s for s in record.stages.values() if node in s.stage.nodes]
        fused_with = dict.fromkeys(n for s in states for n in s.stage.nodes if n != node)
        out = counts.get(node)
        yield StageRow(
            id=node,
            kind="node",
            name=node,
            status=_combined([state.status(record.status) for state in states]),
            duration_s=_shared(states, [state.duration_s for state in states]),
            task_time_s=_shared(states, [state.totals.task_time_s for state in states]) or 0.0,
            fused=bool(fused_with),
            fused_with=list(fused_with),
            stages=[f"stage-{state.stage.id}" for state in states],
            tasks=sum(state.stage.partitions for state in states),
            tasks_done=sum(state.tasks_done(record.status) for state in states),
            records_in=_records_in(flow.get(node, ()), counts, out),
            records_out=out,
            skew=_worst_skew(states),
            cached=sum(len(state.cached_blocks) for state in states),
            pushed_down=out is None and all(state.ran_whole for state in states),
        )


def physical_rows(record: Record) -> Iterable[StageRow]:
    """Yield one row per physical stage."""
    for state in record.stages.values():
        yield StageRow(
            id=f"stage-{state.stage.id}",
            kind="stage",
            name=state.stage.name,
            status=state.status(record.status),
            duration_s=None if state.duration_s is None else round(state.duration_s, 6),
            task_time_s=round(state.totals.task_time_s, 6),
            **_usage(state),
            attempts=state.attempts,
            tasks=state.stage.partitions,
            tasks_done=state.tasks_done(record.status),
            records_in=_stage_records_in(record, state),
            records_out=state.rows_out
            if state.reports or state.cached_blocks or state.ran_whole
            else None,
            skew=state.totals.skew,
            cached=len(state.cached_blocks),
        )


def _usage(state: StageState) -> dict[str, Any]:
    """Return what the accepted tasks of a stage used, None where nothing was measured."""
    totals = state.totals
    if not state.reports:
        return {}
    measured = any(report.usage is not None for report in state.reports.values())
    return {
        "queued_s": round(totals.queued_s, 6),
        "cpu_s": round(totals.cpu_s, 6) if measured else None,
        "peak_memory_bytes": totals.peak_memory_bytes,
        "bytes_read": totals.bytes_read,
        "block_bytes_read": totals.block_bytes_read,
        "bytes_written": totals.bytes_written,
        "bytes_spilled": totals.bytes_spilled if measured else None,
    }


def job_metrics(record: Record, *, total_time_s: float, troubles: Troubles) -> JobMetrics:
    """Return the metrics of a job."""
    counts = _node_counts(record)
    states = list(record.stages.values())
    exchanged = {
        leaf.stage for state in states for branch in state.stage.branches for leaf in branch.inputs
    }
    sources = _sources(record.graph)
    inputs = sum(counts.get(node, 0) for node in sources)
    uncounted = sum(state.rows_out for state in states if not state.counts_quotes)
    records = sum(counts.values()) if counts else uncounted
    time_s = max(total_time_s, _MIN_TIME_S)
    return JobMetrics(
        job_id=record.job_id,
        name=record.name,
        status=record.status,
        total_time_s=total_time_s,
        throughput_input_records_s=round(inputs / time_s, 2),
        throughput_all_records_s=round(records / time_s, 2),
        input_records=inputs,
        all_records=records,
        records=dict(counts),
        nodes=[_node_metrics(row) for row in node_rows(record)],
        stages=len(states),
        tasks=sum(state.stage.partitions for state in states),
        tasks_done=sum(state.tasks_done(record.status) for state in states),
        retries=troubles.retries,
        failures=troubles.failures,
        failures_by_worker=troubles.by_worker,
        last_failure_at=troubles.last_at,
        task_time_s=round(sum(state.totals.task_time_s for state in states), 6),
        skew=_worst_skew(states),
        bytes_read=sum(state.totals.bytes_read for state in states),
        bytes_fetched=sum(state.totals.bytes_fetched for state in states),
        bytes_shuffled=sum(s.totals.bytes_out for s in states if s.stage.id in exchanged),
        bytes_spilled=sum(state.totals.bytes_spilled for state in states),
        bytes_written=sum(
            state.totals.bytes_written for state in states if state.stage.output.sink is not None
        ),
        queued_s=round(sum(state.totals.queued_s for state in states), 6),
        cpu_s=round(sum(state.totals.cpu_s for state in states), 6),
        peak_memory_bytes=max(
            (s.totals.peak_memory_bytes for s in states if s.totals.peak_memory_bytes), default=None
        ),
        cache_hits=sum(len(state.cached_blocks) for state in states),
        cache_misses=sum(state.misses for state in states),
    )


def _node_metrics(row: StageRow) -> NodeMetrics:
    return NodeMetrics.model_validate(
        {name: getattr(row, name) for name in NodeMetrics.model_fields}
    )


def _node_counts(record: Record) -> Mapping[str, int]:
    """Return the rows out of each counted node; a node that saw no batch has 0.

    Nodes whose tasks did not all run are omitted, unless their rows are cached.
    """
    counts = dict.fromkeys(record.graph.flow, 0)
    for state in record.stages.values():
        for node, rows in state.totals.nodes.items():
            counts[node] = counts.get(node, 0) + rows
    for state in record.stages.values():
        if state.ran_whole:
            continue
        cached = None if state.stage.cached is None else state.stage.cached.node
        for node in state.stage.nodes:
            if node == cached and not state.unneeded:
                counts[node] = counts.get(node, 0) + state.cached_rows
            else:
                counts.pop(node, None)
    return counts


def _records_in(reads: Iterable[str], counts: Mapping[str, int], out: int | None) -> int | None:
    """Return the rows that a node read; a source reads as many as it returns."""
    names = tuple(reads)
    if not names:
        return out
    return sum(counts[name] for name in names) if counts.keys() >= set(names) else None


def _sources(graph: StageGraph) -> list[str]:
    """Return the counted nodes that read files."""
    return [node for node, reads in graph.flow.items() if not reads]


def _stage_records_in(record: Record, state: StageState) -> int | None:
    """Return the rows that a stage read, of files (as its source nodes count them) and of blocks.

    None if it reads files and no node counts.
    """
    sources = [node for node in _sources(record.graph) if node in state.stage.nodes]
    if (state.scans_rows and not sources) or not state.ran_whole:
        return None
    # Every task that reads splits of a CSV file also reads the quotes before its splits.
    side_rows = sum(
        record.stages[leaf.stage].totals.rows_out * branch.partitions
        for branch in state.stage.branches
        for leaf in branch.inputs
        if leaf.leaf in branch.side_inputs
    )
    counted = sum(state.totals.nodes.get(node, 0) for node in sources)
    return counted + max(0, state.totals.rows_in - side_rows)


def _shared(states: Iterable[StageState], times: Iterable[float | None]) -> float | None:
    """Return the sum of a node's equal shares of its stages' times; None if no stage has one."""
    parts = [
        time_s / len(state.stage.nodes)
        for state, time_s in zip(states, times, strict=True)
        if time_s is not None
    ]
    return round(sum(parts), 6) if parts else None


def _worst_skew(states: Iterable[StageState]) -> float | None:
    skews = [state.totals.skew for state in states]
    return max((skew for skew in skews if skew is not None), default=None)


def _combined(statuses: list[RowStatus]) -> RowStatus:
    """Return the status of a node that runs in several stages."""
    distinct = set(statuses)
    if len(distinct) == 1:
        return distinct.pop()
    for status in ("FAILED", "CANCELLED", "RUNNING"):
        if status in distinct:
            return status
    if not distinct:
        return "PENDING"
    return "SUCCEEDED" if distinct == {"SUCCEEDED", "SKIPPED"} else "RUNNING"
