"""The stage table and the metrics of a job, computed from its record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from minispark.blocks.cache_hits import CacheHit
from minispark.blocks.meta import BlockMeta
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.observe.stage_totals import StageTotals
from minispark.observe.views import ENDED, JobMetrics, NodeMetrics, RowStatus, StageRow
from minispark.plan.stages import ScanInput, Stage, StageGraph
from minispark.scheduler.commands import JobStatus
from minispark.task.spec import TaskReport, TaskUsage

_MIN_TIME_S = 1e-6
"""A shorter time is below the clock's resolution and gives no rate."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one task."""

    key: TaskKey
    worker: str
    started_at: float
    finished_at: float | None = None
    status: str = "RUNNING"
    failure: Failure | None = None
    speculative: bool = False
    """The attempt ran beside a slow one of the same task."""
    log: tuple[str, ...] = ()
    """The last lines that a failed attempt printed."""
    took_s: float | None = None
    """Time that it ran, by the worker's clock; None without a report of its end."""
    waited_s: float | None = None
    """Time that it waited on the worker, by the worker's clock."""
    usage: TaskUsage | None = None

    @property
    def queued_s(self) -> float | None:
        """Time between its launch and its start, None if no worker reported how long it ran.

        For reports of earlier releases, all of its time in which it did not run.
        """
        if self.waited_s is not None or self.took_s is None or self.finished_at is None:
            return self.waited_s
        return max(0.0, self.finished_at - self.started_at - self.took_s)


@dataclass(frozen=True, slots=True)
class Troubles:
    """Retries and failures of a job."""

    retries: int
    failures: dict[str, int]
    by_worker: dict[str, int]
    last_at: float | None


class StageState:
    """The state of one physical stage, from its launches and reports."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.reports: dict[int, TaskReport] = {}
        self.totals = StageTotals(tasks=stage.partitions, scans_rows=self.scans_rows)
        self.first_launch: float | None = None
        self.last_success: float | None = None
        self.running: dict[int, int] = {}
        """Live attempts of each task that has one."""
        self.generation = 0
        """How often it was rolled back."""
        self._launched: set[int] = set()
        self._relaunched: set[int] = set()
        self._failed = False
        self.cached_blocks: dict[int, BlockMeta] = {}
        """Blocks of a cache by partition, while readers use them."""
        self.unneeded: set[int] = set()
        """Tasks that need not run: only tasks with cached blocks would read them."""

    def add_cached(self, hits: Iterable[CacheHit], *, to_run: Collection[int]) -> None:
        """Note the cached blocks and the tasks that have to run."""
        self.cached_blocks = {hit.key.partition: hit.meta for hit in hits}
        unread = set(range(self.stage.partitions)) - set(to_run)
        self.unneeded = unread - self.cached_blocks.keys()

    @property
    def ran_whole(self) -> bool:
        """Whether every task had to run, so the counts are complete."""
        return not self.cached_blocks and not self.unneeded

    @property
    def misses(self) -> int:
        """Tasks that ran because no cache had their block."""
        cached = self.stage.cached
        return 0 if cached is None or cached.key is None else len(self._launched)

    def launched(self, key: TaskKey, now: float) -> bool:
        """Note a launch; return whether the task was launched before."""
        partition = key.partition
        self.running[partition] = self.running.get(partition, 0) + 1
        self.generation = max(self.generation, key.generation)
        self.cached_blocks.pop(partition, None)
        self.unneeded.discard(partition)
        if self.first_launch is None:
            self.first_launch = now
        if partition in self.reports:
            self._relaunched.add(partition)
        before = partition in self._launched
        self._launched.add(partition)
        return before

    def accepted(self, report: TaskReport, now: float) -> None:
        """Note an accepted report."""
        partition = report.key.partition
        self._ended(partition)
        self.totals.add(report, replaces=self.reports.get(partition))
        self.reports[partition] = report
        self._relaunched.discard(partition)
        self.last_success = now

    def failed(self, key: TaskKey) -> None:
        """Note a failure; the stage has failed if the task never succeeds."""
        self._ended(key.partition)
        self._failed = self._failed or key.partition not in self.reports

    def _ended(self, partition: int) -> None:
        left = self.running.pop(partition, 0) - 1
        if left > 0:
            self.running[partition] = left

    @property
    def tasks_there(self) -> int:
        """Number of tasks that need not run: their output exists, or no task reads it."""
        present = len(self.reports) + len(self.cached_blocks) + len(self.unneeded)
        return present - len(self._relaunched)

    def tasks_done(self, job: JobStatus) -> int:
        """Return the number of tasks with output; at the end of the job, of all that had output."""
        relaunched = len(self._relaunched) if job not in ENDED else 0
        return len(self.reports) + len(self.cached_blocks) - relaunched

    def status(self, job: JobStatus) -> RowStatus:
        """Return the status of the stage."""
        if len(self.cached_blocks) + len(self.unneeded) == self.stage.partitions:
            return "SKIPPED"
        if self.tasks_done(job) + len(self.unneeded) == self.stage.partitions:
            return "SUCCEEDED"
        if job in ENDED:
            if not self._launched or job is JobStatus.SUCCEEDED:
                return "SKIPPED"
            return "FAILED" if job is JobStatus.FAILED and self._failed else "CANCELLED"
        return "RUNNING" if self._launched else "PENDING"

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first launch to the last success."""
        if self.first_launch is None or self.last_success is None:
            return None
        return max(0.0, self.last_success - self.first_launch)

    @property
    def rows_out(self) -> int:
        """Rows in the written or cached blocks, or in the written files."""
        return self.totals.rows_out + self.cached_rows

    @property
    def cached_rows(self) -> int:
        """Rows in the cached blocks."""
        return sum(meta.rows for meta in self.cached_blocks.values())

    @property
    def scans_rows(self) -> bool:
        """Whether the stage reads rows of input files."""
        return any(not scan.spec.format.auxiliary for scan in self._scans())

    @property
    def counts_quotes(self) -> bool:
        """Whether the stage only finds where records of a file begin: its rows are not records."""
        return any(scan.spec.format.auxiliary for scan in self._scans())

    def _scans(self) -> Iterable[ScanInput]:
        return (scan for branch in self.stage.branches for scan in branch.scans)


class Record(Protocol):
    """The part of a job's record that the tables use."""

    job_id: str
    name: str
    graph: StageGraph
    stages: dict[int, StageState]

    @property
    def status(self) -> JobStatus:
        """The status of the job."""


def progress(record: Record) -> float:
    """Return the percentage of finished tasks; 100 only for a job that has succeeded."""
    if record.status is JobStatus.SUCCEEDED:
        return 100.0
    states = record.stages.values()
    total = sum(state.stage.partitions - len(state.unneeded) for state in states)
    done = sum(state.tasks_done(record.status) for state in record.stages.values())
    return min(99.9, round(100.0 * done / total, 1)) if total else 0.0


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
