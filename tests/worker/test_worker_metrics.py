import pytest

from minispark.blocks.format import EMPTY_BLOCK
from minispark.errors import Cancelled, TimedOut
from minispark.ids import TaskKey
from minispark.task.spec import TaskFailure, TaskReport
from minispark.worker.worker_metrics import LatencyWindow, WorkerMetrics

KEY = TaskKey("j", 0, 0, 0, 0)


def test_latencies_are_of_the_last_ten_minutes() -> None:
    latency = LatencyWindow()
    assert latency.quantiles(now=0.0) == {}
    for number in range(1, 101):
        latency.add(number / 10, now=float(number))
    assert latency.quantiles(now=100.0) == {
        "latency_mean_s": 5.05,
        "latency_p50_s": 5.0,
        "latency_p95_s": 9.5,
        "latency_p99_s": 9.9,
    }
    # Those that ended before second 51 are too long ago.
    assert latency.quantiles(now=651.0)["latency_p50_s"] == 7.5
    assert latency.quantiles(now=1_000.0) == {}
    assert latency.count == 100
    assert latency.sum_s == pytest.approx(505.0)


def test_what_a_worker_counts() -> None:
    metrics = WorkerMetrics()
    metrics.started(0)
    metrics.started(2)
    metrics.ended(TaskReport(KEY, EMPTY_BLOCK, duration_s=2.0))
    metrics.ended(TaskFailure(KEY, TimedOut(1.0)))
    metrics.ended(TaskFailure(KEY, Cancelled()))
    metrics.served(10)
    found = metrics.measure()
    assert found["memory_bytes"] > 1_000_000
    assert {name: found[name] for name in ("tasks_done", "tasks_failed", "retries")} == {
        "tasks_done": 1.0,
        "tasks_failed": 1.0,
        "retries": 1.0,
    }
    assert (found["task_time_s"], found["latency_p99_s"]) == (2.0, 2.0)
    assert (found["blocks_served"], found["bytes_served"]) == (1.0, 10.0)
