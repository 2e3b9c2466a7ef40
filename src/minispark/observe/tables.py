"""The stage table and the figures of a job, made of what its record holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from minispark.blocks.cache_hits import CacheHit
from minispark.blocks.meta import BlockMeta
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.observe.stage_totals import StageTotals
from minispark.observe.views import ENDED, JobMetrics, NodeMetrics, RowStatus, StageRow
from minispark.plan.stages import ScanInput, Stage, StageGraph
from minispark.scheduler.commands import JobStatus
from minispark.task.spec import TaskReport

_MIN_TIME_S = 1e-6
"""Below it a rate would be a division by the clock's grain."""


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
    """It ran beside another, which took long."""
    log: tuple[str, ...] = ()
    """The last lines that it printed, of one that failed."""
    took_s: float | None = None
    """How long it ran, by its worker's clock; the rest of its time it stood in line."""


@dataclass(frozen=True, slots=True)
class Troubles:
    """What did not go well in a job."""

    retries: int
    failures: dict[str, int]
    by_worker: dict[str, int]
    last_at: float | None


class StageState:
    """What is known of one physical stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.reports: dict[int, TaskReport] = {}
        self.sums = StageTotals(tasks=stage.partitions, scans_rows=self.scans_rows)
        self.first_launch: float | None = None
        self.last_success: float | None = None
        self.running: dict[int, int] = {}
        """Live attempts of each task that has one."""
        self.generation = 0
        """How often it was rolled back."""
        self._launched: set[int] = set()
        self._again: set[int] = set()
        self._failed = False
        self.found: dict[int, BlockMeta] = {}
        """What a cache had, by partition, as long as that is what is read."""
        self.unneeded: set[int] = set()
        """Tasks that only lead to what was found: nobody reads them."""

    def begins_with(self, found: Iterable[CacheHit], *, to_run: Collection[int]) -> None:
        """Note what was there before, and which tasks have to run."""
        self.found = {task.key.partition: task.meta for task in found}
        self.unneeded = set(range(self.stage.partitions)) - set(to_run) - self.found.keys()

    @property
    def ran_whole(self) -> bool:
        """Whether every task had to run, so that what was counted is all there is."""
        return not self.found and not self.unneeded

    @property
    def misses(self) -> int:
        """Tasks that were started since no cache had what they give."""
        cached = self.stage.cached
        return 0 if cached is None or cached.key is None else len(self._launched)

    def launched(self, key: TaskKey, now: float) -> bool:
        """Note a launch; return whether the task had been started before."""
        partition = key.partition
        self.running[partition] = self.running.get(partition, 0) + 1
        self.generation = max(self.generation, key.generation)
        self.found.pop(partition, None)
        self.unneeded.discard(partition)
        if self.first_launch is None:
            self.first_launch = now
        if partition in self.reports:
            self._again.add(partition)
        before = partition in self._launched
        self._launched.add(partition)
        return before

    def accepted(self, report: TaskReport, now: float) -> None:
        """Note an accepted report."""
        partition = report.key.partition
        self._ended(partition)
        self.sums.add(report, instead_of=self.reports.get(partition))
        self.reports[partition] = report
        self._again.discard(partition)
        self.last_success = now

    def failed(self, key: TaskKey) -> None:
        """Note a failure: a stage that never gets over it is the one that failed."""
        self._ended(key.partition)
        self._failed = self._failed or key.partition not in self.reports

    def _ended(self, partition: int) -> None:
        left = self.running.pop(partition, 0) - 1
        if left > 0:
            self.running[partition] = left

    @property
    def tasks_there(self) -> int:
        """Tasks that need not run: their output is there, or nobody reads it."""
        return len(self.reports) + len(self.found) + len(self.unneeded) - len(self._again)

    def tasks_done(self, job: JobStatus) -> int:
        """Tasks whose output is there (in the end: was there)."""
        again = len(self._again) if job not in ENDED else 0
        return len(self.reports) + len(self.found) - again

    def status(self, job: JobStatus) -> RowStatus:
        """How the stage stands."""
        if len(self.found) + len(self.unneeded) == self.stage.partitions:
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
        """Rows in the blocks that were written or found, or in the files written."""
        return self.sums.rows_out + sum(meta.rows for meta in self.found.values())

    @property
    def scans_rows(self) -> bool:
        """Whether the stage reads rows of input files."""
        return any(not scan.spec.format.auxiliary for scan in self._scans())

    @property
    def counts_quotes(self) -> bool:
        """Whether the stage only looks where records of a file begin: its rows are no records."""
        return any(scan.spec.format.auxiliary for scan in self._scans())

    def _scans(self) -> Iterable[ScanInput]:
        return (scan for branch in self.stage.branches for scan in branch.scans)


class Record(Protocol):
    """What the tables need of a job's record."""

    job_id: str
    name: str
    graph: StageGraph
    stages: dict[int, StageState]

    @property
    def status(self) -> JobStatus:
        """How the job stands."""


def progress(record: Record) -> float:
    """Percent of tasks done; 100 only once the job has succeeded."""
    if record.status is JobStatus.SUCCEEDED:
        return 100.0
    states = record.stages.values()
    total = sum(state.stage.partitions - len(state.unneeded) for state in states)
    done = sum(state.tasks_done(record.status) for state in record.stages.values())
    return min(99.9, round(100.0 * done / total, 1)) if total else 0.0


def node_rows(record: Record) -> Iterable[StageRow]:
    """One row per node of the DAG, in DAG order."""
    flow = record.graph.flow
    counts = _node_counts(record)
    names = dict.fromkeys([*flow, *(n for s in record.graph.stages for n in s.nodes)])
    for node in names:
        states = [s for s in record.stages.values() if node in s.stage.nodes]
        others = dict.fromkeys(n for state in states for n in state.stage.nodes if n != node)
        out = counts.get(node)
        yield StageRow(
            id=node,
            kind="node",
            name=node,
            status=_combined([state.status(record.status) for state in states]),
            duration_s=_shared(states, [state.duration_s for state in states]),
            task_time_s=_shared(states, [state.sums.task_time_s for state in states]) or 0.0,
            fused=bool(others),
            fused_with=list(others),
            stages=[f"stage-{state.stage.id}" for state in states],
            tasks=sum(state.stage.partitions for state in states),
            tasks_done=sum(state.tasks_done(record.status) for state in states),
            records_in=_records_in(flow.get(node, ()), counts, out),
            records_out=out,
            skew=_worst_skew(states),
            cached=sum(len(state.found) for state in states),
            pushed_down=out is None and all(state.ran_whole for state in states),
        )


def physical_rows(record: Record) -> Iterable[StageRow]:
    """One row per physical stage."""
    for state in record.stages.values():
        yield StageRow(
            id=f"stage-{state.stage.id}",
            kind="stage",
            name=state.stage.name,
            status=state.status(record.status),
            duration_s=None if state.duration_s is None else round(state.duration_s, 6),
            task_time_s=round(state.sums.task_time_s, 6),
            tasks=state.stage.partitions,
            tasks_done=state.tasks_done(record.status),
            records_in=_stage_records_in(record, state),
            records_out=state.rows_out if state.reports or state.found or state.ran_whole else None,
            skew=state.sums.skew,
            cached=len(state.found),
        )


def job_metrics(record: Record, *, total_time_s: float, troubles: Troubles) -> JobMetrics:
    """Sum up a job."""
    counts = _node_counts(record)
    states = list(record.stages.values())
    read_again = {
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
        task_time_s=round(sum(state.sums.task_time_s for state in states), 6),
        skew=_worst_skew(states),
        bytes_read=sum(state.sums.bytes_read for state in states),
        bytes_fetched=sum(state.sums.bytes_fetched for state in states),
        bytes_shuffled=sum(s.sums.bytes_out for s in states if s.stage.id in read_again),
        cache_hits=sum(len(state.found) for state in states),
        cache_misses=sum(state.misses for state in states),
    )


def _node_metrics(row: StageRow) -> NodeMetrics:
    return NodeMetrics.model_validate(
        {name: getattr(row, name) for name in NodeMetrics.model_fields}
    )


def _node_counts(record: Record) -> Mapping[str, int]:
    """Rows out of each counted node; a counted node that saw no batch gave none.

    Nodes of which not all was run are left out, but for those whose rows were found.
    """
    counts = dict.fromkeys(record.graph.flow, 0)
    for state in record.stages.values():
        for node, rows in state.sums.nodes.items():
            counts[node] = counts.get(node, 0) + rows
    for state in record.stages.values():
        if state.ran_whole:
            continue
        cached = None if state.stage.cached is None else state.stage.cached.node
        for node in state.stage.nodes:
            if node == cached and not state.unneeded:
                counts[node] = counts.get(node, 0) + sum(meta.rows for meta in state.found.values())
            else:
                counts.pop(node, None)
    return counts


def _records_in(reads: Iterable[str], counts: Mapping[str, int], out: int | None) -> int | None:
    """Rows that a node read; a source reads from its files what it gives."""
    names = tuple(reads)
    if not names:
        return out
    known = [counts[name] for name in names if name in counts]
    return sum(known) if len(known) == len(names) else None


def _sources(graph: StageGraph) -> list[str]:
    """Return the counted nodes that read files."""
    return [node for node, reads in graph.flow.items() if not reads]


def _stage_records_in(record: Record, state: StageState) -> int | None:
    """Rows that a stage read: of files as its source nodes counted them, and of blocks.

    None where it reads files and nothing counts.
    """
    sources = [node for node in _sources(record.graph) if node in state.stage.nodes]
    if (state.scans_rows and not sources) or not state.ran_whole:
        return None
    # Every task that reads a cut CSV file also reads how many quotes lie before its splits.
    aside = sum(
        record.stages[leaf.stage].sums.rows_out * branch.partitions
        for branch in state.stage.branches
        for leaf in branch.inputs
        if leaf.leaf in branch.side_inputs
    )
    counted = sum(state.sums.nodes.get(node, 0) for node in sources)
    return counted + max(0, state.sums.rows_in - aside)


def _shared(states: Iterable[StageState], times: Iterable[float | None]) -> float | None:
    """Add up a node's equal parts of the times of its stages; None where there are none."""
    parts = [
        time_s / len(state.stage.nodes)
        for state, time_s in zip(states, times, strict=True)
        if time_s is not None
    ]
    return round(sum(parts), 6) if parts else None


def _worst_skew(states: Iterable[StageState]) -> float | None:
    skews = [state.sums.skew for state in states]
    return max((skew for skew in skews if skew is not None), default=None)


def _combined(statuses: list[RowStatus]) -> RowStatus:
    """Status of a node that ran in several stages."""
    found = set(statuses)
    if len(found) == 1:
        return found.pop()
    for status in ("FAILED", "CANCELLED", "RUNNING"):
        if status in found:
            return status
    if not found:
        return "PENDING"
    return "SUCCEEDED" if found == {"SUCCEEDED", "SKIPPED"} else "RUNNING"
