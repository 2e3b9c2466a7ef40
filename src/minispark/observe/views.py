"""What a user sees of a job: plain models, the same on every engine and over REST.

Times are seconds since the epoch, durations seconds, sizes bytes. Fields are only ever added.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from minispark.errors import ErrorInfo
from minispark.scheduler.commands import JobStatus

__all__ = ["ENDED", "JobMetrics", "JobView", "RowStatus", "StageProgress", "StageRow"]

ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})
RowStatus = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"]


class StageProgress(BaseModel):
    """How far a physical stage is."""

    id: str
    name: str
    status: RowStatus
    tasks: int
    tasks_done: int


class JobView(BaseModel):
    """How a job stands. ``version`` grows with every change."""

    job_id: str
    name: str
    status: JobStatus
    progress: float
    """Percent of tasks done."""
    error: ErrorInfo | None = None
    submitted_at: float
    started_at: float | None = None
    finished_at: float | None = None
    duration_s: float | None = None
    """From submission to the end; None while the job runs."""
    stages: list[StageProgress] = []
    waiting: str | None = None
    """Why nothing of it goes on just now: no workers, full ones, or the master's own disk."""
    workers_waiting: bool = False
    """There is work and no worker to do it."""
    version: int = 0


class StageRow(BaseModel):
    """One row of the stage table: a node of the DAG, or a physical stage.

    A node's records are exact; its duration and tasks are those of the stages it ran in.
    ``records_out`` is None where nothing counts (``pushed_down``: the rows are counted where the
    node was pushed to).
    """

    id: str
    kind: Literal["node", "stage"]
    name: str
    status: RowStatus
    duration_s: float | None = None
    """From the first launch to the last success."""
    tasks: int
    tasks_done: int = 0
    records_in: int | None = None
    records_out: int | None = None
    skew: float | None = None
    """Largest task over the median task, in rows (in time where none are counted)."""
    pushed_down: bool = False


class JobMetrics(BaseModel):
    """The figures of one job, over accepted attempts only."""

    job_id: str
    name: str
    status: JobStatus
    total_time_s: float
    throughput_input_records_s: float
    throughput_all_records_s: float
    """Records out of all operators, per second."""
    input_records: int
    """Records that the source nodes read; 0 where the job counts at the ends of stages only."""
    all_records: int
    records: dict[str, int]
    """Records out of each counted node."""
    stages: int
    tasks: int
    tasks_done: int
    retries: int
    """Tasks started again after a failure or a loss; not those that only moved to a free slot."""
    failures: dict[str, int]
    """Failed attempts by kind; cancelled ones are none."""
    bytes_read: int
    bytes_shuffled: int
    bytes_fetched: int = 0
    """Of the bytes shuffled, those that came over HTTP; the others were mapped."""
    bytes_spilled: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
