"""The figures of a cluster as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from minispark.cli.job_metrics import FUSED
from minispark.cli.terminal import count_text, duration_text, output, print_table, rate_text
from minispark.formatting import bytes_words
from minispark.observe.cluster import (
    FailuresMetrics,
    JobsMetrics,
    SystemMetrics,
    Totals,
    WorkerFigures,
)
from minispark.observe.views import JobMetrics

WORKER_COLUMNS = ("worker", "status", "tasks", "cpu", "memory", "done", "p50", "p95", "cache")
Pairs = Sequence[tuple[str, str]]


def print_system(system: SystemMetrics) -> None:
    """Print the cluster as a whole."""
    master = system.master
    _print_pairs(
        [
            ("status", system.status.replace("_", " ")),
            (
                "workers",
                f"{system.workers_up} up, {system.workers_draining} draining, "
                f"{system.workers_down} down",
            ),
            ("slots in use", f"{system.active_tasks} tasks on {system.slots} slots"),
            ("cpu, memory", f"{system.cpu_percent:.0f} %, {bytes_words(system.memory_bytes)}"),
            ("jobs", f"{system.jobs_running} running, {system.jobs_waiting} without a worker"),
            (
                "master",
                f"up {_age(master.uptime_s)}, epoch {master.epoch}, "
                f"{master.cpu_percent:.0f} %, {bytes_words(master.memory_bytes)}, "
                f"journal {master.journal_status} at {count_text(master.journal_seq)}",
            ),
            *_totals(system.totals),
        ]
    )
    if system.workers:
        print_table(WORKER_COLUMNS, worker_rows(system.workers), numbers=WORKER_COLUMNS[2:])


def worker_rows(workers: Sequence[WorkerFigures]) -> list[tuple[str, ...]]:
    """Return a line for each worker, for `WORKER_COLUMNS`."""
    return [
        (
            worker.worker_id,
            worker.status,
            f"{worker.active_tasks}/{worker.slots}",
            "-" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f} %",
            "-" if worker.memory_bytes is None else bytes_words(worker.memory_bytes),
            count_text(worker.tasks_done),
            duration_text(None if worker.latency is None else worker.latency.p50_s),
            duration_text(None if worker.latency is None else worker.latency.p95_s),
            bytes_words(worker.cache_bytes),
        )
        for worker in workers
    ]


def print_job_figures(found: JobsMetrics) -> None:
    """Print jobs by status, and a line for each."""
    counts = ", ".join(f"{count} {status.lower()}" for status, count in found.counts.items())
    output.print_line(counts or "no jobs yet")
    if not found.jobs:
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
            for job in found.jobs
        ],
        numbers=columns[2:],
    )
    if found.after is not None:
        output.print("there are more: --limit")


def print_failures(found: FailuresMetrics) -> None:
    """Print what failed."""
    _print_pairs(
        [
            ("failed attempts", count_text(found.total)),
            *((f"  {kind.replace('_', ' ')}", count_text(n)) for kind, n in found.by_kind.items()),
            ("tasks run again", count_text(found.retries)),
            ("failed jobs", count_text(found.jobs_failed)),
            *((f"  {code}", count_text(n)) for code, n in found.by_code.items()),
            ("workers down", count_text(found.workers_down)),
        ]
    )
    if found.by_worker:
        rows = [(worker, count_text(number)) for worker, number in found.by_worker.items()]
        print_table(("worker", "failed"), rows, numbers=("failed",))
    if found.jobs:
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
                    _time(job.last_failure_at),
                )
                for job in found.jobs
            ],
            numbers=("again",),
        )


def print_job_metrics(metrics: JobMetrics) -> None:
    """Print the figures of one job."""
    seconds = metrics.total_time_s
    troubles = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in metrics.failures.items())
    _print_pairs(
        [
            ("job", f"{metrics.job_id}  {metrics.name}  {metrics.status.value}"),
            ("total time", f"{duration_text(seconds)}, tasks {duration_text(metrics.task_time_s)}"),
            (
                "input",
                f"{count_text(metrics.input_records)} records, {bytes_words(metrics.bytes_read)}, "
                f"{rate_text(metrics.input_records, seconds)}",
            ),
            (
                "over all operators",
                f"{count_text(metrics.all_records)} records, "
                f"{rate_text(metrics.all_records, seconds)}",
            ),
            ("tasks", f"{metrics.tasks_done}/{metrics.tasks} in {metrics.stages} stages"),
            ("run again", f"{metrics.retries}" + (f" ({troubles})" if troubles else "")),
            (
                "shuffled",
                f"{bytes_words(metrics.bytes_shuffled)}; "
                f"{bytes_words(metrics.bytes_fetched)} fetched over HTTP",
            ),
            ("cache", f"{metrics.cache_hits} hits, {metrics.cache_misses} misses"),
            ("skew", "-" if metrics.skew is None else f"{metrics.skew:.2f}"),
        ]
    )
    if not metrics.nodes:
        return
    print_table(
        ("node", "records in", "records out", "time", "skew", "fused with"),
        [
            (
                node.id,
                count_text(node.records_in),
                count_text(node.records_out),
                duration_text(node.duration_s),
                "-" if node.skew is None else f"{node.skew:.2f}",
                ", ".join(node.fused_with) or "-",
            )
            for node in metrics.nodes
        ],
        numbers=("records in", "records out", "time", "skew"),
    )
    if any(node.fused for node in metrics.nodes):
        output.print(FUSED)


def print_worker(figures: Mapping[str, Any]) -> None:
    """Print what a worker says of itself."""
    _print_pairs(
        [(name.replace("_", " "), _figure(name, value)) for name, value in figures.items()]
    )


def _totals(totals: Totals) -> Pairs:
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


def _print_pairs(pairs: Pairs) -> None:
    width = max(len(name) for name, _ in pairs) + 2
    for name, value in pairs:
        output.print_line(name.ljust(width) + value)


def _figure(name: str, value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith("bytes") or name == "bytes_served":
        return bytes_words(int(value))
    if name.endswith("_s"):
        return duration_text(float(value))
    if name.endswith("_percent"):
        return f"{value:.0f} %"
    return count_text(int(value))


def _age(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def _time(at: float | None) -> str:
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%F %T")
