"""What the public routes answer, where it is not a view of `minispark.observe`."""

from __future__ import annotations

from pydantic import BaseModel

from minispark.errors import ErrorInfo
from minispark.master.outcome import Outcome, SinkOutput
from minispark.master.registry import WorkerEntry
from minispark.observe.views import JobView, StageRow
from minispark.scheduler.commands import JobStatus

__all__ = [
    "ErrorAnswer",
    "Health",
    "JobList",
    "JobResults",
    "NodeResult",
    "StageTable",
    "WorkerList",
    "WorkerView",
]


class ErrorAnswer(BaseModel):
    """What went wrong."""

    error: ErrorInfo


class Health(BaseModel):
    """The master lives."""

    status: str = "ok"


class JobList(BaseModel):
    """Jobs, newest first; ``after`` asks for the next page, None on the last."""

    jobs: list[JobView]
    after: str | None = None


class StageTable(BaseModel):
    """One row per node of the DAG, then one per physical stage."""

    job_id: str
    stages: list[StageRow]


class NodeResult(BaseModel):
    """Rows that can be downloaded."""

    node: str
    columns: list[str]
    rows: int
    bytes: int
    partitions: int


class JobResults(BaseModel):
    """Where the output of a job is: files that it wrote, rows to download, or both."""

    job_id: str
    status: JobStatus
    sinks: list[SinkOutput]
    nodes: list[NodeResult]

    @classmethod
    def of(cls, outcome: Outcome) -> JobResults:
        """Describe the results of a finished job."""
        return cls(
            job_id=outcome.view.job_id,
            status=outcome.view.status,
            sinks=outcome.sinks,
            nodes=[
                NodeResult(
                    node=result.node,
                    columns=list(result.columns),
                    rows=result.rows,
                    bytes=sum(block.meta.length for block in result.blocks),
                    partitions=len(result.blocks),
                )
                for result in outcome.results
            ],
        )


class WorkerView(BaseModel):
    """A worker, its load and what it said of its machine."""

    worker_id: str
    status: str
    active_tasks: int
    slots: int
    url: str
    epoch: int
    cpu_percent: float | None
    memory_bytes: int | None
    heartbeat_age_s: float
    metrics: dict[str, float]

    @classmethod
    def of(cls, entry: WorkerEntry, *, now: float) -> WorkerView:
        """Describe a worker; ``now`` is monotonic."""
        memory = entry.metrics.get("memory_bytes")
        return cls(
            worker_id=entry.worker_id,
            status=entry.status,
            active_tasks=len(entry.leased),
            slots=entry.slots,
            url=entry.url,
            epoch=entry.epoch,
            cpu_percent=entry.metrics.get("cpu_percent"),
            memory_bytes=None if memory is None else int(memory),
            heartbeat_age_s=round(max(0.0, now - entry.seen_at), 3),
            metrics=entry.metrics,
        )


class WorkerList(BaseModel):
    """All workers that registered with this master."""

    workers: list[WorkerView]
