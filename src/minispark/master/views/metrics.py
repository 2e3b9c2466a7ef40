"""The figures of the cluster, read from the master's books.

Totals are of all jobs ever: those that the book still has, and what was added up of those that
it has let go (`JobStore.forgotten`, kept in the journal).
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
"""Jobs with failures that are listed, the newest."""


class MetricsView:
    """Reads a master's books for those who watch the cluster."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._tree = ProcessTree()
        self._started_s = monotonic_s()

    def totals(self) -> cluster.Totals:
        """Add up all jobs."""
        return self._parts.jobs.archived_totals.plus(self._pairs())

    def system(self) -> cluster.SystemMetrics:
        """Describe the cluster as a whole."""
        parts, now = self._parts, monotonic_s()
        trouble = parts.loop.trouble
        workers = [worker_figures(entry, now=now) for entry in parts.registry.all()]
        here = [worker for worker in workers if worker.status != "DOWN"]
        up = sum(worker.status == "UP" for worker in workers)
        usage = self._tree.usage()
        views = [live.record.view() for live in parts.jobs.live.values()]
        return cluster.SystemMetrics(
            at=wall_s(),
            cluster_id=parts.identity.cluster_id,
            status="degraded" if trouble else "ok" if up else "no_workers",
            master=cluster.MasterFigures(
                epoch=parts.identity.master_epoch,
                uptime_s=round(now - self._started_s, 3),
                cpu_percent=usage.cpu_percent,
                memory_bytes=usage.memory_bytes,
                journal_seq=parts.journal.seq,
                journal_status="degraded" if trouble else "ok",
            ),
            workers_up=up,
            workers_draining=len(here) - up,
            workers_down=len(workers) - len(here),
            slots=sum(worker.slots for worker in here),
            active_tasks=sum(worker.active_tasks for worker in here),
            cpu_percent=round(sum(worker.cpu_percent or 0.0 for worker in here), 1),
            memory_bytes=sum(worker.memory_bytes or 0 for worker in here),
            jobs_running=len(views),
            jobs_waiting=sum(view.workers_waiting for view in views),
            totals=self.totals(),
            workers=workers,
        )

    def jobs(self, *, limit: int, after: str | None) -> cluster.JobsMetrics:
        """List the figures of jobs, newest first, after one of them.

        Raises
        ------
        RefusedError
            There is no job ``after``.
        """
        book = self._parts.jobs
        ids = book.ids_after(after)
        pairs = [self._pair(job) for job in ids[:limit]]
        return cluster.JobsMetrics(
            counts=self.totals().jobs,
            jobs=[cluster.JobFigures.of(view, metrics) for view, metrics in pairs],
            after=ids[limit - 1] if len(ids) > limit else None,
        )

    def failures(self) -> cluster.FailuresMetrics:
        """Describe what failed."""
        totals, pairs = self.totals(), self._pairs()
        by_worker: Counter[str] = Counter()
        for _, metrics in pairs:
            by_worker.update(metrics.failures_by_worker)
        failed = [(v, m) for v, m in pairs if m.failures or v.error is not None]
        down = sum(entry.status == "DOWN" for entry in self._parts.registry.all())
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
        return [self._pair(job) for job in self._parts.jobs.ids()]

    def _pair(self, job: str) -> tuple[JobView, JobMetrics]:
        book = self._parts.jobs
        return book.view(job), book.metrics(job, now=wall_s())


def worker_figures(entry: WorkerSession, *, now: float) -> cluster.WorkerFigures:
    """Describe a worker; ``now`` is monotonic. One that is gone takes nothing of its machine."""
    gone = {"cpu_percent", "memory_bytes"} if entry.status == "DOWN" else set()
    return cluster.WorkerFigures.from_heartbeat(
        {name: value for name, value in entry.metrics.items() if name not in gone},
        worker_id=entry.worker_id,
        status=entry.status,
        slots=entry.slots,
        active_tasks=len(entry.leased),
        heartbeat_age_s=now - entry.seen_at,
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
