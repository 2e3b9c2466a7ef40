"""The metrics of the cluster.

Totals are over all jobs ever: those in the `JobStore`, and `JobStore.archived_totals` of those that
it has dropped (kept in the journal).
"""

from __future__ import annotations

from collections import Counter

from minispark.clock import monotonic_s, wall_s
from minispark.master.control.components import Components
from minispark.master.control.registry import WorkerSession
from minispark.observe import cluster
from minispark.observe.process import ProcessTree
from minispark.observe.views import JobMetrics, JobView

_MAX_FAILED_JOBS = 100
"""Jobs with failures in the list; the newest."""


class MetricsView:
    """Computes the metrics of a cluster."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._jobs = components.jobs
        self._tree = ProcessTree()
        self._started_s = monotonic_s()

    def totals(self) -> cluster.Totals:
        """Return the sums over all jobs."""
        return self._jobs.archived_totals.plus(self._pairs())

    def system(self) -> cluster.SystemMetrics:
        """Return the metrics of the cluster as a whole."""
        components, now = self._components, monotonic_s()
        trouble = components.loop.trouble
        workers = [worker_figures(session, now=now) for session in components.registry.all()]
        present = [worker for worker in workers if worker.status != "DOWN"]
        up = sum(worker.status == "UP" for worker in workers)
        usage = self._tree.usage()
        views = [self._jobs.view(job) for job in self._jobs.live]
        return cluster.SystemMetrics(
            at=wall_s(),
            cluster_id=components.identity.cluster_id,
            status="degraded" if trouble else "ok" if up else "no_workers",
            master=cluster.MasterFigures(
                epoch=components.identity.master_epoch,
                uptime_s=round(now - self._started_s, 3),
                cpu_percent=usage.cpu_percent,
                memory_bytes=usage.memory_bytes,
                journal_seq=components.journal.seq,
                journal_status="degraded" if trouble else "ok",
            ),
            workers_up=up,
            workers_draining=len(present) - up,
            workers_down=len(workers) - len(present),
            slots=sum(worker.slots for worker in present),
            active_tasks=sum(worker.active_tasks for worker in present),
            cpu_percent=round(sum(worker.cpu_percent or 0.0 for worker in present), 1),
            memory_bytes=sum(worker.memory_bytes or 0 for worker in present),
            jobs_running=len(views),
            jobs_waiting=sum(view.workers_waiting for view in views),
            totals=self.totals(),
            workers=workers,
        )

    def jobs(self, *, limit: int, after: str | None) -> cluster.JobsMetrics:
        """Return a page of the metrics of jobs, newest first.

        Raises
        ------
        RefusedError
            There is no job ``after``.
        """
        ids = self._jobs.ids(after)
        pairs = [self._pair(job) for job in ids[:limit]]
        return cluster.JobsMetrics(
            counts=self.totals().jobs,
            jobs=[cluster.JobFigures.of(view, metrics) for view, metrics in pairs],
            after=ids[limit - 1] if len(ids) > limit else None,
        )

    def failures(self) -> cluster.FailuresMetrics:
        """Return what failed, by kind, worker, job and error code."""
        totals, pairs = self.totals(), self._pairs()
        by_worker: Counter[str] = Counter()
        for _, metrics in pairs:
            by_worker.update(metrics.failures_by_worker)
        failed = [(v, m) for v, m in pairs if m.failures or v.error is not None]
        down = sum(session.status == "DOWN" for session in self._components.registry.all())
        return cluster.FailuresMetrics(
            total=sum(totals.failures.values()),
            by_kind={**dict.fromkeys(cluster.FAILURE_KINDS, 0), **totals.failures},
            retries=totals.retries,
            jobs_failed=totals.jobs.get("FAILED", 0),
            by_code=totals.errors,
            by_worker=dict(sorted(by_worker.items())),
            workers_down=down,
            jobs=[_job_failures(v, m) for v, m in failed[:_MAX_FAILED_JOBS]],
        )

    def _pairs(self) -> list[tuple[JobView, JobMetrics]]:
        return [self._pair(job) for job in self._jobs.ids()]

    def _pair(self, job: str) -> tuple[JobView, JobMetrics]:
        return self._jobs.view(job), self._jobs.metrics(job, now=wall_s())


def worker_figures(session: WorkerSession, *, now: float) -> cluster.WorkerFigures:
    """Return the metrics of a worker; a DOWN one uses no CPU and memory. ``now`` is monotonic."""
    omitted = {"cpu_percent", "memory_bytes"} if session.status == "DOWN" else set()
    return cluster.WorkerFigures.from_heartbeat(
        {name: value for name, value in session.metrics.items() if name not in omitted},
        worker_id=session.worker_id,
        status=session.status,
        slots=session.slots,
        active_tasks=len(session.leased),
        heartbeat_age_s=now - session.seen_at,
    )


def _job_failures(view: JobView, metrics: JobMetrics) -> cluster.JobFailures:
    return cluster.JobFailures(
        job_id=view.job_id,
        status=view.status,
        code=None if view.error is None else cluster.known_code(view.error.code),
        by_kind=metrics.failures,
        retries=metrics.retries,
        last_failure_at=metrics.last_failure_at,
    )
