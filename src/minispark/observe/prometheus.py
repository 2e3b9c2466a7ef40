"""The metrics of master and workers as Prometheus text.

Created from the views for each scrape; nothing is stored here. Labels are present workers, kinds,
codes and statuses, but no jobs: their number stays small.

Covers: names, units and text. Does not cover: the values (`cluster`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from minispark.observe.cluster import FAILURE_KINDS, SystemMetrics, WorkerFigures

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

Value = Callable[[WorkerFigures], float]


def cluster_text(system: SystemMetrics) -> bytes:
    """Return the metrics of a master and its cluster."""
    present = [worker for worker in system.workers if worker.status != "DOWN"]
    return _text([*_build(), *_master(system), *_totals(system), *_workers(present)])


def worker_text(worker: WorkerFigures) -> bytes:
    """Return the metrics of a worker."""
    return _text([*_build(), *_workers([worker])])


class _Collector(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _text(families: list[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(families))
    return generate_latest(registry)


def _build() -> Iterator[Metric]:
    yield InfoMetricFamily("minispark_build", "Versions of this process.", value=_versions())


@cache
def _versions() -> dict[str, str]:
    return {"version": version("minispark-engine"), "polars": version("polars")}


def _master(system: SystemMetrics) -> Iterator[Metric]:
    master, healthy = system.master, system.master.journal_status == "ok"
    yield _gauge(
        "minispark_master_start_time_seconds",
        "Start time of the master, in seconds since the epoch.",
        system.at - master.uptime_s,
    )
    yield _gauge(
        "minispark_master_epoch", "Number of starts with this state directory.", master.epoch
    )
    yield _gauge("minispark_master_cpu_cores", "CPU cores in use.", master.cpu_percent / 100)
    yield _gauge("minispark_master_memory_bytes", "Memory in use.", master.memory_bytes)
    yield _gauge("minispark_journal_healthy", "1 while the journal can be written.", int(healthy))
    yield _counter("minispark_journal_events", "Events in the journal, ever.", master.journal_seq)
    states = {
        "up": system.workers_up,
        "draining": system.workers_draining,
        "down": system.workers_down,
    }
    yield _by("minispark_workers", "Registered workers.", "status", states)
    yield _gauge("minispark_slots", "Slots of all workers.", system.slots)
    yield _gauge("minispark_active_tasks", "Tasks assigned to workers.", system.active_tasks)
    yield _gauge("minispark_jobs_running", "Jobs that have not ended.", system.jobs_running)
    yield _gauge("minispark_jobs_waiting", "Jobs without a worker.", system.jobs_waiting)


def _totals(system: SystemMetrics) -> Iterator[Metric]:
    totals = system.totals
    ended = {status: totals.jobs.get(status.upper(), 0) for status in _ENDED}
    yield _by("minispark_jobs_finished", "Jobs that ended.", "status", ended, total=True)
    yield _by(
        "minispark_job_errors", "Failed jobs by their error.", "code", totals.errors, total=True
    )
    kinds = {**dict.fromkeys(FAILURE_KINDS, 0), **totals.failures}
    yield _by("minispark_task_failures", "Attempts that failed.", "kind", kinds, total=True)
    for name, text, value in (
        ("minispark_tasks_completed", "Completed tasks.", totals.tasks_done),
        ("minispark_task_retries", "Tasks that were run again.", totals.retries),
        ("minispark_task_seconds", "Run time of tasks.", totals.task_time_s),
        ("minispark_input_records", "Records read from files.", totals.input_records),
        ("minispark_operator_records", "Records out of all operators.", totals.all_records),
        ("minispark_read_bytes", "Bytes read from files.", totals.bytes_read),
        ("minispark_shuffle_bytes", "Bytes passed between stages.", totals.bytes_shuffled),
        ("minispark_fetched_bytes", "Bytes of blocks fetched over HTTP.", totals.bytes_fetched),
        ("minispark_spilled_bytes", "Bytes that did not fit in memory.", totals.bytes_spilled),
        ("minispark_cache_hits", "Partitions found in the cache.", totals.cache_hits),
        ("minispark_cache_misses", "Partitions not found in the cache.", totals.cache_misses),
    ):
        yield _counter(name, text, value)


_ENDED = ("succeeded", "failed", "cancelled")
_GAUGES: tuple[tuple[str, str, Value], ...] = (
    ("up", "1 for a worker that accepts tasks.", lambda w: float(w.status == "UP")),
    ("slots", "Slots of the worker.", lambda w: w.slots),
    ("active_tasks", "Tasks assigned to the worker.", lambda w: w.active_tasks),
    ("cpu_cores", "CPU cores in use.", lambda w: (w.cpu_percent or 0.0) / 100),
    ("memory_bytes", "Memory in use.", lambda w: w.memory_bytes or 0),
    ("heartbeat_age_seconds", "Seconds since its last heartbeat.", lambda w: w.heartbeat_age_s),
    ("cache_bytes", "Memory in use by its cache.", lambda w: w.cache_bytes),
    ("cache_disk_bytes", "Disk space in use by its cache.", lambda w: w.cache_disk_bytes),
)
_COUNTERS: tuple[tuple[str, str, Value], ...] = (
    ("tasks_completed", "Tasks completed on the worker.", lambda w: w.tasks_done),
    ("tasks_failed", "Attempts that failed on the worker.", lambda w: w.tasks_failed),
    ("task_retries", "Attempts on the worker that were not the first.", lambda w: w.retries),
    ("task_seconds", "Run time of tasks on the worker.", lambda w: w.task_time_s),
    ("blocks_served", "Answers with a block, over HTTP.", lambda w: w.blocks_served),
    ("served_bytes", "Bytes of blocks, over HTTP.", lambda w: w.bytes_served),
    ("cache_hits", "Partitions found in its cache.", lambda w: w.cache_hits),
    ("cache_misses", "Partitions not found in its cache.", lambda w: w.cache_misses),
    ("cache_spills", "Partitions that its cache moved to disk.", lambda w: w.cache_spills),
)


def _workers(workers: list[WorkerFigures]) -> Iterator[Metric]:
    for name, text, value_of in _GAUGES:
        values = {worker.worker_id: value_of(worker) for worker in workers}
        yield _by(f"minispark_worker_{name}", text, "worker", values)
    for name, text, value_of in _COUNTERS:
        values = {worker.worker_id: value_of(worker) for worker in workers}
        yield _by(f"minispark_worker_{name}", text, "worker", values, total=True)
    latency = GaugeMetricFamily(
        "minispark_worker_task_latency_seconds",
        "Run time of tasks that ended in the last ten minutes.",
        labels=["worker", "quantile"],
    )
    mean = GaugeMetricFamily(
        "minispark_worker_task_latency_mean_seconds",
        "Mean run time of tasks that ended in the last ten minutes.",
        labels=["worker"],
    )
    for worker in workers:
        if worker.latency is not None:
            mean.add_metric([worker.worker_id], worker.latency.mean_s)
            for quantile, name in (("0.5", "p50_s"), ("0.95", "p95_s"), ("0.99", "p99_s")):
                latency.add_metric([worker.worker_id, quantile], getattr(worker.latency, name))
    yield from (latency, mean)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _by(
    name: str, text: str, label: str, values: Mapping[str, float], *, total: bool = False
) -> Metric:
    kind = CounterMetricFamily if total else GaugeMetricFamily
    family = kind(name, text, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family
