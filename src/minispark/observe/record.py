"""The record of one job: what has happened to it so far.

Covers: attempts, accepted reports, times, progress. Does not cover: the tables of them (`tables`),
decisions (`minispark.scheduler`), rebuilding a record after a restart (`projection`).

Every metric sums over the one accepted attempt of each task, so retries, speculation and lost
blocks never count twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from minispark.blocks.cache_hits import CacheHit, tasks_to_run
from minispark.errors import Cancelled, ErrorInfo, Failure, WorkerLost
from minispark.ids import TaskKey
from minispark.observe import tables
from minispark.observe.failures import FailureLocation, error_of
from minispark.observe.stage_state import Attempt, StageState
from minispark.observe.stage_work import finished_work
from minispark.observe.views import ENDED, JobMetrics, JobView, StageProgress, StageRow
from minispark.plan.stages import StageGraph
from minispark.scheduler.commands import JobStatus
from minispark.scheduler.reasons import Reason, Why
from minispark.task.spec import TaskFailure, TaskReport
from minispark.wire.origin import NO_ORIGIN, JobOrigin

_ALMOST = 99.9
"""The percent of a job that is done but has not succeeded yet: its files are being published."""


@dataclass(frozen=True, slots=True)
class _End:
    status: JobStatus
    error: ErrorInfo | None
    at: float


class JobRecord:
    """The record of a job. ``now`` is in seconds since the epoch in all methods.

    ``version`` is its first version; it must be above those of a record that this one replaces.
    """

    def __init__(
        self,
        job_id: str,
        name: str,
        graph: StageGraph,
        submitted_at: float,
        *,
        version: int = 0,
        origin: JobOrigin = NO_ORIGIN,
    ) -> None:
        self.job_id = job_id
        self.name = name
        self.graph = graph
        self.submitted_at = submitted_at
        self.attempts: dict[TaskKey, Attempt] = {}
        self.stages = {stage.id: StageState(stage) for stage in graph.stages}
        self.version = version
        self.origin = origin
        self._running: dict[str, dict[TaskKey, None]] = {}
        """Queued and running attempts, by every worker that ever had one."""
        self._started_at: float | None = None
        self._seen_at = submitted_at
        self._end: _End | None = None
        self._waiting: str | None = None
        self._no_worker = False
        self._failures: Counter[str] = Counter()
        self._failed_on: Counter[str] = Counter()
        self._last_failure_at: float | None = None
        self._retries = 0
        self.lost_workers: dict[str, float] = {}
        """Workers that were lost while they had attempts or blocks of the job, and when."""

    @property
    def status(self) -> JobStatus:
        """The status of the job."""
        if self._end is not None:
            return self._end.status
        return JobStatus.ACCEPTED if self._started_at is None else JobStatus.RUNNING

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.status in ENDED

    @property
    def finished_at(self) -> float | None:
        """When the job ended."""
        return None if self._end is None else self._end.at

    @property
    def error(self) -> ErrorInfo | None:
        """Why the job failed."""
        return None if self._end is None else self._end.error

    @property
    def active(self) -> bool:
        """Whether an attempt of it is queued or running."""
        return any(self._running.values())

    def running_on(self, worker: str) -> list[TaskKey]:
        """Return the attempts that are queued or running on a worker."""
        return list(self._running.get(worker, ()))

    def loads(self) -> dict[str, int]:
        """Return how many attempts are queued or running on each worker that has one."""
        return {worker: len(keys) for worker, keys in self._running.items() if keys}

    def add_cached(self, hits: Iterable[CacheHit], now: float) -> None:
        """Note the blocks of earlier jobs that the job uses, so that their tasks need not run."""
        tasks = {(task.key.stage, task.key.partition): task for task in hits}
        if not tasks:
            return
        self._touch(now)
        to_run = tasks_to_run(self.graph, lambda stage, number: (stage.id, number) in tasks)
        for state in self.stages.values():
            own = (task for (stage, _), task in tasks.items() if stage == state.stage.id)
            state.add_cached(own, to_run=to_run[state.stage.id])

    def launched(self, key: TaskKey, worker: str, now: float, reason: Reason | None = None) -> None:
        """Note that an attempt was leased to a worker; a second call changes nothing."""
        if key in self.attempts:
            return
        self._touch(now)
        if self._started_at is None:
            self._started_at = now
        self._waiting, self._no_worker = None, False
        speculative = reason is not None and reason.why is Why.SPECULATIVE
        self.attempts[key] = Attempt(key, worker, started_at=now, speculative=speculative)
        self._running.setdefault(worker, {})[key] = None
        again = self.stages[key.stage].launched(key, now)
        if again if reason is None else reason.is_retry:
            self._retries += 1

    def succeeded(self, report: TaskReport, worker: str, now: float) -> None:
        """Note an accepted attempt; it replaces an earlier one of the same partition."""
        self._touch(now)
        self._close(report.key, worker, now, status="SUCCEEDED", report=report)
        self.stages[report.key.stage].accepted(report, now)

    def failed(
        self,
        key: TaskKey,
        failure: Failure,
        worker: str,
        now: float,
        *,
        report: TaskFailure | None = None,
    ) -> None:
        """Note a failed or cancelled attempt; a lost one has no ``report``."""
        attempt = self.attempts.get(key)
        if attempt is not None and attempt.finished_at is not None:
            return
        self._touch(now)
        cancelled = isinstance(failure, Cancelled)
        if not cancelled:
            self._failures[failure.kind] += 1
            self._failed_on[worker] += 1
            self._last_failure_at = now
        status = "CANCELLED" if cancelled else "FAILED"
        self._close(key, worker, now, status=status, report=report)
        log = () if report is None else report.log
        self.attempts[key] = replace(self.attempts[key], failure=failure, log=log)
        self.stages[key.stage].failed(key)

    def worker_lost(self, worker: str, reason: str, now: float) -> None:
        """Note that a worker is lost, and that its attempts of the job have failed."""
        running = self._running.get(worker)
        if running is not None and not self.ended and worker not in self.lost_workers:
            self.lost_workers[worker] = now
            if not running:
                self._touch(now)
        for key in self.running_on(worker):
            self.failed(key, WorkerLost(reason), worker, now)

    def waits(self, why: str | None, *, now: float, no_worker: bool = False) -> None:
        """Note why no attempt of the job runs, None if one does."""
        if (why, no_worker) != (self._waiting, self._no_worker) and not self.ended:
            self._touch(now)
            self._waiting, self._no_worker = why, no_worker

    def explain(self, failure: Failure, key: TaskKey | None = None) -> ErrorInfo:
        """Return the job's error for a failure; ``key`` is the attempt that failed."""
        if key is None:
            return error_of(failure)
        attempt, stage = self.attempts.get(key), self.stages[key.stage].stage
        return error_of(
            failure,
            FailureLocation(
                stage=stage.id,
                name=stage.name,
                partition=key.partition,
                nodes=stage.nodes,
                log=() if attempt is None else attempt.log,
            ),
        )

    def finished(self, status: JobStatus, error: ErrorInfo | None, now: float) -> None:
        """Note the end of the job; the first end stays."""
        if self._end is not None:
            return
        self._touch(now)
        self._end = _End(status, error, now)
        self._waiting, self._no_worker = None, False

    def view(self) -> JobView:
        """Return the public view of the job."""
        end, found = self._end, finished_work(self.stages.values())
        succeeded = self.status is JobStatus.SUCCEEDED
        return JobView(
            job_id=self.job_id,
            name=self.name,
            status=self.status,
            progress=100.0 if succeeded else min(_ALMOST, found.percent),
            error=self.error,
            submitted_at=self.submitted_at,
            started_at=self._started_at,
            finished_at=self.finished_at,
            duration_s=None if end is None else max(0.0, end.at - self.submitted_at),
            stages=[
                StageProgress(
                    id=f"stage-{state.stage.id}",
                    name=state.stage.name,
                    status=state.status(self.status),
                    tasks=state.stage.partitions,
                    tasks_done=state.tasks_done(self.status),
                    cached=len(state.cached_blocks),
                    progress=percent,
                )
                for state, percent in zip(self.stages.values(), found.stages, strict=True)
            ],
            waiting=self._waiting,
            workers_waiting=self._no_worker,
            version=self.version,
            submitted_by=self.origin.user,
            access=self.origin.access,
            source=self.origin.source,
        )

    def stage_rows(self) -> list[StageRow]:
        """Return one row per node of the DAG, then one per physical stage."""
        return [*tables.node_rows(self), *tables.physical_rows(self)]

    def metrics(self, *, now: float | None = None) -> JobMetrics:
        """Return the metrics of the job; ``now`` is the end of the time of a running job."""
        until = self.finished_at or now or self._seen_at
        troubles = tables.Troubles(
            retries=self._retries,
            failures=dict(sorted(self._failures.items())),
            by_worker=dict(sorted(self._failed_on.items())),
            last_at=self._last_failure_at,
        )
        total_time_s = max(0.0, until - self.submitted_at)
        return tables.job_metrics(self, total_time_s=total_time_s, troubles=troubles)

    def _close(
        self,
        key: TaskKey,
        worker: str,
        now: float,
        *,
        status: str,
        report: TaskReport | TaskFailure | None,
    ) -> None:
        attempt = self.attempts.get(key) or Attempt(key, worker, started_at=now)
        self._running.setdefault(attempt.worker, {}).pop(key, None)
        self.attempts[key] = Attempt(
            key,
            attempt.worker,
            attempt.started_at,
            finished_at=now,
            status=status,
            speculative=attempt.speculative,
            took_s=None if report is None else report.duration_s,
            waited_s=None if report is None else report.queued_s,
            usage=None if report is None else report.usage,
        )

    def _touch(self, now: float) -> None:
        self.version += 1
        self._seen_at = max(self._seen_at, now)
