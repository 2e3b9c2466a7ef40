"""The views of a job for users: models that are the same on every engine and over REST.

Times are seconds since the epoch, durations seconds, sizes bytes. A release may only add fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from minispark.errors import ErrorInfo
from minispark.observe.cards import job_card
from minispark.observe.estimate import Sureness
from minispark.scheduler.commands import JobStatus
from minispark.tokens import Level
from minispark.wire.origin import SourceKind

ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})
RowStatus = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"]


class StageProgress(BaseModel):
    """The progress of a physical stage."""

    id: str
    name: str
    status: RowStatus
    tasks: int
    tasks_done: int
    cached: int = 0
    """Finished tasks that did not run, because a cache had their output."""
    progress: float = 0.0
    """Percent of its work, with what running tasks have read."""


class JobView(BaseModel):
    """The state of a job. ``version`` grows with every change."""

    job_id: str
    name: str
    status: JobStatus
    progress: float
    """Percent of the work: stages count by the time that their tasks take."""
    error: ErrorInfo | None = None
    submitted_at: float
    started_at: float | None = None
    finished_at: float | None = None
    duration_s: float | None = None
    """From submission to the end; None while the job runs."""
    stages: list[StageProgress] = []
    waiting: str | None = None
    """Why no task runs now: no workers, full workers, or the master's own disk."""
    workers_waiting: bool = False
    """There are tasks, but no worker to run them."""
    version: int = 0
    left_s: float | None = None
    """Time that it still takes, while it runs and if something is measured."""
    left_sure: Sureness | None = None
    """``about``, or ``at least`` if parts of the time that is left are not measured."""
    tasks_running: int = 0
    """Attempts that run now; others may be queued on workers. This and the next three are of a
    running job."""
    rows_read: int = 0
    """Records that the source nodes have read so far, those of running tasks too."""
    bytes_read: int = 0
    """Bytes of input files so far, those of running tasks too."""
    input_bytes: int = 0
    """Bytes of all input files."""
    submitted_by: str | None = None
    """The name that the client gave; nothing proves it."""
    access: Level | None = None
    """The level of the token that submitted it."""
    source: SourceKind | None = None
    """The kind of its text, if the master has one: a JSON job, or SQL."""

    def _repr_html_(self) -> str:
        return job_card(self.name, self.job_id, self.status, self.progress, self.error)


def running_stage(stages: Sequence[StageProgress]) -> str | None:
    """Return the first stage that runs: ``stage 2 of 3 (reduce)``; None if none runs."""
    for number, stage in enumerate(stages, 1):
        if stage.status == "RUNNING":
            return f"stage {number} of {len(stages)} ({stage.name})"
    return None


class StageRow(BaseModel):
    """One row of the stage table: a node of the DAG, or a physical stage.

    A node's records are exact. The nodes of a stage run fused, as one query, and their times cannot
    be measured apart: the stage's time is split equally between them (``fused``), so the times of
    nodes add up to those of stages. ``records_out`` is None if no node counts the rows
    (``pushed_down``: the node that it was pushed to counts them).
    """

    id: str
    kind: Literal["node", "stage"]
    name: str
    status: RowStatus
    duration_s: float | None = None
    """Of a stage, from the first launch to the last success; of a node, its share of that."""
    task_time_s: float = 0.0
    """Time of all its tasks together; of a node, its share of that."""
    queued_s: float | None = None
    """Time that its tasks waited on workers, together. This and the next seven: stages only."""
    cpu_s: float | None = None
    """CPU time of its tasks, None where it is not measured."""
    peak_memory_bytes: int | None = None
    """Peak resident memory of its largest task; mapped blocks count."""
    bytes_read: int | None = None
    """Bytes of input files."""
    block_bytes_read: int | None = None
    """Bytes of blocks of earlier stages."""
    bytes_written: int | None = None
    """Bytes of its blocks or output files."""
    bytes_spilled: int | None = None
    """Bytes that Polars moved to disk for lack of memory."""
    attempts: int | None = None
    """Launches of all its tasks, those that failed or were cancelled too."""
    fused: bool = False
    """Whether ``duration_s`` is a share of a time of several nodes."""
    fused_with: list[str] = []
    """The nodes that ran in the same stages."""
    stages: list[str] = []
    """``id`` of the stages of a node."""
    tasks: int
    tasks_done: int = 0
    records_in: int | None = None
    records_out: int | None = None
    skew: float | None = None
    """Largest task over the median task, in rows (in time where none are counted)."""
    pushed_down: bool = False
    cached: int = 0
    """Tasks whose output a cache had. Nodes before them are not counted."""


class NodeMetrics(BaseModel):
    """The metrics of one node of the DAG, as in the stage table."""

    id: str
    records_in: int | None
    records_out: int | None
    duration_s: float | None
    task_time_s: float
    fused: bool
    fused_with: list[str]
    stages: list[str]
    skew: float | None


class JobMetrics(BaseModel):
    """The metrics of one job, over accepted attempts only."""

    job_id: str
    name: str
    status: JobStatus
    total_time_s: float
    throughput_input_records_s: float
    throughput_all_records_s: float
    """Records out of all operators, per second."""
    input_records: int
    """Records that the source nodes read; 0 if the job counts only at the ends of stages."""
    all_records: int
    records: dict[str, int]
    """Records out of each counted node."""
    nodes: list[NodeMetrics] = []
    stages: int
    tasks: int
    tasks_done: int
    retries: int
    """Tasks launched again after a failure or a loss; not those that only moved to a free slot."""
    failures: dict[str, int]
    """Failed attempts by kind; a cancelled attempt is not a failure."""
    failures_by_worker: dict[str, int] = {}
    last_failure_at: float | None = None
    task_time_s: float = 0.0
    """Time of all tasks together."""
    skew: float | None = None
    """Skew of the most skewed stage."""
    bytes_read: int
    bytes_shuffled: int
    bytes_fetched: int = 0
    """Bytes of blocks, cached ones too, that were fetched over HTTP; other blocks were mapped."""
    bytes_spilled: int = 0
    """Bytes that Polars moved to disk for lack of memory."""
    bytes_written: int = 0
    """Bytes of the output files."""
    queued_s: float = 0.0
    """Time that tasks waited on workers, together."""
    cpu_s: float = 0.0
    peak_memory_bytes: int | None = None
    """Peak resident memory of the largest task."""
    cache_hits: int = 0
    cache_misses: int = 0
