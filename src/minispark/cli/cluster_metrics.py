"""Tables of cluster metrics: the system, its workers, jobs, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minispark.cli.job_metrics import percent_text
from minispark.cli.terminal import output, print_pairs, print_table
from minispark.formatting import bytes_words, count_text, duration_text, duration_words, local_time
from minispark.observe.cluster import (
    FailuresMetrics,
    JobsMetrics,
    SystemMetrics,
    Totals,
    WorkerFigures,
)

WORKER_COLUMNS = ("worker", "status", "tasks", "cpu", "memory", "done", "p50", "p95", "cache")


def print_system(system: SystemMetrics) -> None:
    """Print the metrics of the cluster and a line for each worker."""
    master = system.master
    print_pairs(
        [
            ("status", system.status.replace("_", " ")),
            (
                "workers",
                f"{system.workers_up} up, {system.workers_draining} draining, "
                f"{system.workers_down} down",
            ),
            ("slots in use", f"{system.active_tasks} tasks on {system.slots} slots"),
            (
                "cpu, memory",
                f"{percent_text(system.cpu_percent)}, {bytes_words(system.memory_bytes)}",
            ),
            ("jobs", f"{system.jobs_running} running, {system.jobs_waiting} without a worker"),
            (
                "master",
                f"up {duration_words(master.uptime_s)}, epoch {master.epoch}, "
                f"{percent_text(master.cpu_percent)}, {bytes_words(master.memory_bytes)}, "
                f"journal {master.journal_status} at {count_text(master.journal_seq)}",
            ),
            *_totals(system.totals),
        ]
    )
    if system.workers:
        rows, whole = worker_rows(system.workers), WORKER_COLUMNS[:2]
        print_table(WORKER_COLUMNS, rows, numbers=WORKER_COLUMNS[2:], whole=whole)


def worker_rows(workers: Sequence[WorkerFigures]) -> list[tuple[str, ...]]:
    """Return the cells of `WORKER_COLUMNS` for each worker."""
    return [
        (
            worker.worker_id,
            worker.status,
            f"{worker.active_tasks}/{worker.slots}",
            percent_text(worker.cpu_percent),
            bytes_words(worker.memory_bytes),
            count_text(worker.tasks_done),
            duration_text(None if worker.latency is None else worker.latency.p50_s),
            duration_text(None if worker.latency is None else worker.latency.p95_s),
            bytes_words(worker.cache_bytes),
        )
        for worker in workers
    ]


def print_job_figures(metrics: JobsMetrics) -> None:
    """Print the number of jobs by status, and a line for each job."""
    counts = ", ".join(f"{count} {status.lower()}" for status, count in metrics.counts.items())
    output.print_line(counts or "no jobs yet")
    if not metrics.jobs:
        return
    columns = ("job", "status", "time", "stages", "tasks", "again", "failed", "records", "shuffled")
    print_table(
        columns,
        [
            (
                job.job_id,
                job.status.value,
                duration_text(job.total_time_s),
                str(job.stages),
                f"{job.tasks_done}/{job.tasks}",
                str(job.retries),
                str(job.failures),
                count_text(job.input_records or job.all_records),
                bytes_words(job.bytes_shuffled),
            )
            for job in metrics.jobs
        ],
        numbers=columns[2:],
        whole=columns[:2],
    )
    if metrics.after is not None:
        output.print("there are more: --limit")


def print_failures(metrics: FailuresMetrics) -> None:
    """Print failed attempts by kind and by worker, and the jobs with failures."""
    print_pairs(
        [
            ("failed attempts", count_text(metrics.total)),
            *(
                (f"  {kind.replace('_', ' ')}", count_text(n))
                for kind, n in metrics.by_kind.items()
            ),
            ("tasks run again", count_text(metrics.retries)),
            ("failed jobs", count_text(metrics.jobs_failed)),
            *((f"  {code}", count_text(n)) for code, n in metrics.by_code.items()),
            ("workers down", count_text(metrics.workers_down)),
        ]
    )
    if metrics.by_worker:
        rows = [(worker, count_text(number)) for worker, number in metrics.by_worker.items()]
        print_table(("worker", "failed"), rows, numbers=("failed",), whole=("worker",))
    if metrics.jobs:
        print_table(
            ("job", "status", "error", "failures", "again", "last"),
            [
                (
                    job.job_id,
                    job.status.value,
                    job.code or "-",
                    ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in job.by_kind.items())
                    or "-",
                    str(job.retries),
                    "-" if job.last_failure_at is None else local_time(job.last_failure_at),
                )
                for job in metrics.jobs
            ],
            numbers=("again",),
            whole=("job", "status", "error", "last"),
        )


def print_worker(metrics: Mapping[str, Any]) -> None:
    """Print the metrics of a worker."""
    print_pairs([(name.replace("_", " "), _text(name, value)) for name, value in metrics.items()])


def _totals(totals: Totals) -> list[tuple[str, str]]:
    jobs = ", ".join(f"{n} {status.lower()}" for status, n in totals.jobs.items())
    return [
        ("all jobs ever", jobs or "none"),
        (
            "  tasks",
            f"{count_text(totals.tasks_done)} done, {totals.retries} run again, "
            f"{sum(totals.failures.values())} attempts failed",
        ),
        (
            "  records",
            f"{count_text(totals.input_records)} read, "
            f"{count_text(totals.all_records)} over all operators",
        ),
        (
            "  bytes",
            f"{bytes_words(totals.bytes_read)} read, {bytes_words(totals.bytes_shuffled)} shuffled",
        ),
        ("  cache", f"{totals.cache_hits} hits, {totals.cache_misses} misses"),
    ]


def _text(name: str, value: object) -> str:
    if value is None:
        return "no limit"
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith("bytes") or name == "bytes_served":
        return bytes_words(int(value))
    if name.endswith("_s"):
        return duration_text(float(value))
    if name.endswith("_percent"):
        return percent_text(float(value))
    return count_text(int(value))
