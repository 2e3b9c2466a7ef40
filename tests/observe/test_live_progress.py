"""The view of a running job with what its attempts have read so far."""

from __future__ import annotations

import pytest
from tests.observe.test_record import GRAPH, key, report

from minispark.ids import TaskKey
from minispark.observe.live_progress import LiveProgress
from minispark.observe.record import JobRecord
from minispark.scheduler.commands import JobStatus
from minispark.task.spec import TaskProgress


def begun(*attempts: TaskKey) -> JobRecord:
    record = JobRecord("j", "words", GRAPH, 100.0)
    for attempt in attempts:
        record.launched(attempt, "w1", 101.0)
    return record


def reading(
    of: TaskKey, share: float | None, *, ran_s: float = 10.0, rows: int = 0
) -> TaskProgress:
    return TaskProgress(of, ran_s=ran_s, bytes_read=500, nodes={"read": rows}, share=share)


def test_running_tasks_count_and_queued_ones_do_not() -> None:
    record, live = begun(key(0, 0), key(0, 1)), LiveProgress()
    assert live.view(record, slots=2, now=105.0).left_s is None
    live.update("w1", [reading(key(0, 0), 0.5, rows=70)], now=110.0)
    view = live.view(record, slots=2, now=110.0)
    assert (view.tasks_running, view.rows_read, view.bytes_read) == (1, 70, 500)
    # A third of the tasks of the stage is half done.
    assert view.stages[0].progress == pytest.approx(100 / 6, abs=0.1)
    assert (view.left_sure, view.stages[1].progress) == ("about", 0)
    assert view.left_s is not None
    assert set(live.running(record, now=110.0)) == {key(0, 0)}
    assert live.running(record, now=113.0)[key(0, 0)].ran_s == 13.0


def test_rows_are_compared_with_the_records_of_the_input() -> None:
    record, live = begun(key(0, 0)), LiveProgress()
    said = TaskProgress(key(0, 0), ran_s=4.0, nodes={"read": 30, "flat": 90}, expected_rows=120)
    live.update("w1", [said], now=110.0)
    assert live.running(record, now=110.0)[key(0, 0)].share == 0.25
    # An estimate that was too low does not end a task.
    said = TaskProgress(key(0, 0), ran_s=4.0, nodes={"read": 500}, expected_rows=120)
    live.update("w1", [said], now=111.0)
    assert live.running(record, now=111.0)[key(0, 0)].share == 0.99


def test_attempts_that_ended_have_no_progress() -> None:
    record, live = begun(key(0, 0), key(0, 1)), LiveProgress()
    live.update("w1", [reading(key(0, 0), 0.5), reading(key(0, 1), 0.5)], now=110.0)
    record.succeeded(report(key(0, 0), 0, (5, 5), read=4), "w1", 111.0)
    assert set(live.running(record, now=112.0)) == {key(0, 1)}
    record.worker_lost("w1", "it is gone", 112.0)
    assert live.running(record, now=112.0) == {}
    live.update("w1", [], now=113.0)
    assert not live.has("w1")


def test_the_percent_does_not_go_back_unless_work_is_lost() -> None:
    record, live = begun(*(key(0, n) for n in range(3))), LiveProgress()
    live.update("w1", [reading(key(0, 0), 0.6)], now=110.0)
    high = live.view(record, slots=2, now=110.0).progress
    live.update("w1", [reading(key(0, 0), 0.2)], now=112.0)
    assert live.view(record, slots=2, now=112.0).progress == high
    for number in range(3):
        record.succeeded(report(key(0, number), 0, (5, 5), read=4), "w1", 113.0)
    done = live.view(record, slots=2, now=113.0).progress
    assert done > high
    # Its block is lost: a finished task runs again.
    record.launched(key(0, 1, attempt=1), "w1", 114.0)
    assert live.view(record, slots=2, now=114.0).progress < done


def test_versions_grow_at_most_once_a_second() -> None:
    record, live = begun(key(0, 0)), LiveProgress()
    version = live.view(record, slots=1, now=101.0).version
    changed = [live.update(f"w{n}", [reading(key(0, 0), 0.1)], now=110.0 + n / 4) for n in range(8)]
    assert changed == [True, False, False, False] * 2
    assert live.view(record, slots=1, now=120.0).version == version + 2


def test_a_job_that_has_ended_shows_its_record() -> None:
    record, live = begun(key(0, 0)), LiveProgress()
    live.update("w1", [reading(key(0, 0), 0.5)], now=110.0)
    record.finished(JobStatus.CANCELLED, None, 111.0)
    assert live.view(record, slots=1, now=112.0) == record.view()


def test_no_time_is_told_without_a_worker() -> None:
    record, live = begun(key(0, 0)), LiveProgress()
    live.update("w1", [reading(key(0, 0), 0.5)], now=110.0)
    record.waits("there is no worker", now=111.0, no_worker=True)
    assert live.view(record, slots=4, now=111.0).left_s is None
