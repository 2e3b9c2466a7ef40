"""The exposition: what Prometheus' own parser reads of it, and what the dashboard asks of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from minispark.observe.cluster import (
    FAILURE_KINDS,
    MasterFigures,
    SystemMetrics,
    Totals,
    WorkerFigures,
)
from minispark.observe.prometheus import cluster_text, worker_text

DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/minispark.json"
TOLD = {
    "cpu_percent": 150.0,
    "memory_bytes": 1e6,
    "tasks_done": 9.0,
    "cache_hits": 4.0,
    "latency_mean_s": 0.2,
    "latency_p50_s": 0.1,
    "latency_p95_s": 0.8,
    "latency_p99_s": 0.9,
}


def worker(
    name: str, metrics: Mapping[str, float] | None = None, *, status: str = "UP"
) -> WorkerFigures:
    return WorkerFigures.from_heartbeat(
        metrics or {}, worker_id=name, status=status, slots=2, active_tasks=1
    )


def system(*workers: WorkerFigures) -> SystemMetrics:
    master = MasterFigures(
        epoch=2,
        uptime_s=10.0,
        cpu_percent=50.0,
        memory_bytes=5,
        journal_seq=7,
        journal_status="degraded",
    )
    totals = Totals(
        jobs={"SUCCEEDED": 3, "FAILED": 1, "RUNNING": 1},
        failures={"timed_out": 2},
        errors={"MS-205": 1},
        bytes_shuffled=1 << 40,
    )
    return SystemMetrics(
        at=110.0,
        cluster_id="c",
        status="degraded",
        master=master,
        workers_up=1,
        workers_draining=0,
        workers_down=1,
        slots=2,
        active_tasks=1,
        cpu_percent=0.0,
        memory_bytes=0,
        jobs_running=1,
        jobs_waiting=0,
        totals=totals,
        workers=list(workers),
    )


def samples(text: bytes) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_what_the_master_says() -> None:
    found = samples(cluster_text(system(worker("w-1", TOLD), worker("w-2", TOLD, status="DOWN"))))
    assert found["minispark_master_start_time_seconds"] == 100.0
    assert (found["minispark_journal_healthy"], found["minispark_journal_events_total"]) == (0, 7)
    assert found["minispark_workers{down}"] == 1
    assert found["minispark_jobs_finished_total{succeeded}"] == 3
    assert found["minispark_jobs_finished_total{cancelled}"] == 0
    assert found["minispark_job_errors_total{MS-205}"] == 1
    assert found["minispark_shuffle_bytes_total"] == 1 << 40
    # Every kind is there from the beginning: a rate over one that appears late misses the first.
    kinds = {k: found[f"minispark_task_failures_total{{{k}}}"] for k in FAILURE_KINDS}
    assert kinds == {**dict.fromkeys(FAILURE_KINDS, 0), "timed_out": 2}
    # Names of workers that are gone would never end.
    assert [name for name in found if "w-2" in name] == []


def test_what_a_worker_says() -> None:
    found = samples(worker_text(worker("w-1", TOLD)))
    assert found["minispark_worker_up{w-1}"] == 1
    assert found["minispark_worker_cpu_cores{w-1}"] == 1.5
    assert found["minispark_worker_cache_hits_total{w-1}"] == 4
    assert found["minispark_worker_task_latency_seconds{0.95}{w-1}"] == 0.8
    silent = samples(worker_text(worker("w-1")))
    assert "minispark_worker_task_latency_mean_seconds{w-1}" not in silent


@pytest.mark.parametrize("text", [cluster_text(system(worker("w-1", TOLD)))])
def test_names_follow_the_conventions(text: bytes) -> None:
    for family in text_string_to_metric_families(text.decode()):
        assert family.documentation.endswith("."), family.name
        assert family.name.startswith("minispark_")
        assert not re.search(r"_(ms|mb|kb|percent|s)$", family.name), family.name
        for sample in family.samples:
            # Info is a gauge in this format.
            assert sample.name.endswith("_total") == (family.type == "counter"), sample


def test_the_dashboard_asks_for_nothing_that_is_not_there() -> None:
    known = {name.split("{")[0] for name in samples(cluster_text(system(worker("w-1", TOLD))))}
    board = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    asked = {name for query in queries for name in re.findall(r"minispark_\w+", query)}
    assert len(queries) >= 12
    assert asked <= known
    # What counts up is shown as a rate or an increase; what does not is shown as it is.
    for query in queries:
        for name in re.findall(r"minispark_\w+", query):
            grows = re.search(rf"(rate|increase)\({name}", query) is not None
            assert grows == name.endswith("_total"), query
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    assert board["uid"] == "minispark"
