"""The metrics of a whole cluster: its workers, its totals, its failures.

Only ids, statuses, counts and times: on loopback these metrics may be read without a token.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import get_args

from pydantic import BaseModel, ConfigDict

from minispark.errors import Cancelled, Failure
from minispark.observe.views import JobMetrics, JobView
from minispark.scheduler.commands import JobStatus

FAILURE_KINDS: tuple[str, ...] = tuple(
    kind.__dataclass_fields__["kind"].default
    for kind in get_args(Failure)
    # A cancelled attempt is not a failure.
    if kind is not Cancelled
)
_CODE = re.compile(r"MS-[0-9]{3}")


class Latency(BaseModel):
    """Durations of the tasks that ended on a worker in the last ten minutes."""

    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float


class WorkerFigures(BaseModel):
    """A worker's load and its last heartbeat; counts start with its process."""

    worker_id: str
    status: str
    active_tasks: int
    slots: int
    load: float
    """Active tasks for each slot."""
    heartbeat_age_s: float
    cpu_percent: float | None
    """100 is one core."""
    memory_bytes: int | None
    tasks_done: int
    tasks_failed: int
    task_time_s: float
    retries: int
    latency: Latency | None
    blocks_served: int
    bytes_served: int
    cache_bytes: int
    """In memory."""
    cache_disk_bytes: int
    cache_hits: int
    cache_misses: int
    cache_spills: int

    @classmethod
    def from_heartbeat(
        cls,
        metrics: Mapping[str, float],
        *,
        worker_id: str,
        status: str = "UP",
        slots: int,
        active_tasks: int,
        heartbeat_age_s: float = 0.0,
    ) -> WorkerFigures:
        """Create them from the metrics that a worker sent; a missing count is 0."""
        memory = metrics.get("memory_bytes")
        latency = {name: metrics.get(f"latency_{name}") for name in Latency.model_fields}
        return cls(
            worker_id=worker_id,
            status=status,
            active_tasks=active_tasks,
            slots=slots,
            load=round(active_tasks / slots, 3),
            heartbeat_age_s=round(max(0.0, heartbeat_age_s), 3),
            cpu_percent=metrics.get("cpu_percent"),
            memory_bytes=None if memory is None else int(memory),
            task_time_s=metrics.get("task_time_s", 0.0),
            latency=None if None in latency.values() else Latency.model_validate(latency),
            **{name: int(metrics.get(name, 0)) for name in _COUNTS},
        )


_COUNTS = (
    *("tasks_done", "tasks_failed", "retries", "blocks_served", "bytes_served"),
    *("cache_bytes", "cache_disk_bytes", "cache_hits", "cache_misses", "cache_spills"),
)


class MasterFigures(BaseModel):
    """The master's own process and its planner."""

    epoch: int
    uptime_s: float
    cpu_percent: float
    memory_bytes: int
    journal_seq: int
    journal_status: str


class Totals(BaseModel):
    """Sums over jobs. Frozen: `plus` returns new ones."""

    model_config = ConfigDict(frozen=True)

    jobs: Mapping[str, int] = {}
    """Jobs by status."""
    failures: Mapping[str, int] = {}
    """Failed attempts by kind."""
    errors: Mapping[str, int] = {}
    """Failed jobs by the code of their error."""
    retries: int = 0
    tasks_done: int = 0
    task_time_s: float = 0.0
    input_records: int = 0
    all_records: int = 0
    bytes_read: int = 0
    bytes_shuffled: int = 0
    bytes_fetched: int = 0
    bytes_spilled: int = 0
    cache_hits: int = 0
    cache_misses: int = 0

    def plus(self, jobs: Iterable[tuple[JobView, JobMetrics]]) -> Totals:
        """Return the sums with more jobs, counted as they are now."""
        sums: dict[str, float] = {name: getattr(self, name) for name in _SUMMED}
        statuses, kinds, codes = Counter(self.jobs), Counter(self.failures), Counter(self.errors)
        for view, metrics in jobs:
            statuses[view.status.value] += 1
            if view.error is not None and view.status is JobStatus.FAILED:
                codes[known_code(view.error.code)] += 1
            kinds.update(metrics.failures)
            for name in _SUMMED:
                sums[name] += getattr(metrics, name)
        counts = {"jobs": dict(statuses), "failures": dict(kinds), "errors": dict(codes)}
        return Totals.model_validate(counts | sums)


_SUMMED = tuple(name for name in Totals.model_fields if name not in ("jobs", "failures", "errors"))


class SystemMetrics(BaseModel):
    """The cluster as a whole; ``totals`` cover all jobs since its state directory was created."""

    at: float
    cluster_id: str
    status: str
    """``ok``; ``degraded`` while the journal cannot be written; ``no_workers``."""
    master: MasterFigures
    workers_up: int
    workers_draining: int
    workers_down: int
    slots: int
    active_tasks: int
    cpu_percent: float
    memory_bytes: int
    jobs_running: int
    jobs_waiting: int
    """Jobs with tasks, but no worker to run them."""
    totals: Totals
    workers: list[WorkerFigures]


class JobFigures(BaseModel):
    """The metrics of one job, in a list of jobs."""

    job_id: str
    status: JobStatus
    progress: float
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    total_time_s: float
    stages: int
    tasks: int
    tasks_done: int
    retries: int
    failures: int
    input_records: int
    all_records: int
    throughput_input_records_s: float
    throughput_all_records_s: float
    bytes_read: int
    bytes_shuffled: int
    bytes_spilled: int
    cache_hits: int
    cache_misses: int
    skew: float | None

    @classmethod
    def of(cls, view: JobView, metrics: JobMetrics) -> JobFigures:
        """Create them from a job's view and metrics."""
        values = view.model_dump(exclude={"stages"}) | metrics.model_dump()
        values["failures"] = sum(metrics.failures.values())
        return cls.model_validate({name: values[name] for name in cls.model_fields})


class JobsMetrics(BaseModel):
    """Jobs by status, and the metrics of each, newest first.

    ``after`` is the key of the next page, None on the last page.
    """

    counts: Mapping[str, int]
    """All jobs since the state directory was created, by status."""
    jobs: list[JobFigures]
    after: str | None = None


class JobFailures(BaseModel):
    """The failures of one job."""

    job_id: str
    status: JobStatus
    code: str | None
    """The code of the error that ended the job."""
    by_kind: Mapping[str, int]
    retries: int
    last_failure_at: float | None


class FailuresMetrics(BaseModel):
    """Failed attempts and failed jobs since the state directory was created.

    ``by_worker`` and ``jobs`` cover the jobs that the master still keeps.
    """

    total: int
    by_kind: Mapping[str, int]
    """Failed attempts; every kind is present."""
    retries: int
    jobs_failed: int
    by_code: Mapping[str, int]
    """Failed jobs by the code of their error."""
    by_worker: Mapping[str, int]
    workers_down: int
    jobs: list[JobFailures]


def known_code(code: str) -> str:
    """Return a code if it has our form: it comes from a worker, and may be read without a token."""
    return code if _CODE.fullmatch(code) else "MS-201"
