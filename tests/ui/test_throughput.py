"""The speed of a job over its time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.observe.test_record import GRAPH, key, report

from minispark.observe.live_progress import RunningAttempt
from minispark.observe.record import JobRecord
from minispark.ui.throughput import throughput_of


def record_of(*tasks: tuple[int, float, float, int]) -> JobRecord:
    """Tasks of the stage that reads files, each with its number, begin, end and rows."""
    record = JobRecord("j", "words", GRAPH, 100.0)
    for number, begin, end, rows in tasks:
        record.launched(key(0, number), "w1", begin - 5)
        said = replace(report(key(0, number), 0, (5, 5), read=rows), duration_s=end - begin)
        record.succeeded(said, "w1", end)
    return record


def test_rows_are_spread_over_the_time_in_which_a_task_ran() -> None:
    found = throughput_of(record_of((0, 110, 140, 3000), (1, 140, 170, 600)), {}, now=200.0)
    assert found is not None
    assert (found.unit, found.step_s, len(found.values)) == ("rows", 1.0, 60)
    assert found.values[5] == pytest.approx(100, rel=0.01)
    assert found.values[55] == pytest.approx(20, rel=0.01)
    # No row is lost or counted twice.
    assert sum(found.values) * found.step_s == pytest.approx(3600, rel=0.001)
    assert found.top == pytest.approx(100, rel=0.01)


def test_what_runs_counts_up_to_now() -> None:
    record = record_of((0, 110, 140, 3000))
    record.launched(key(0, 1), "w1", 140.0)
    running = {key(0, 1): RunningAttempt(ran_s=30.0, bytes_read=1, rows_read=900, share=None)}
    found = throughput_of(record, running, now=170.0)
    assert found is not None
    assert sum(found.values) * found.step_s == pytest.approx(3900, rel=0.001)
    assert found.values[-2] == pytest.approx(30, rel=0.01)


def test_where_nothing_counts_rows_it_is_bytes() -> None:
    record = JobRecord("j", "query", GRAPH, 100.0)
    assert throughput_of(record, {}, now=101.0) is None
    record.launched(key(0, 0), "w1", 100.0)
    running = {key(0, 0): RunningAttempt(ran_s=10.0, bytes_read=5000, rows_read=0, share=None)}
    found = throughput_of(record, running, now=110.0)
    assert found is not None
    assert (found.unit, found.values[30]) == ("bytes", 500)
