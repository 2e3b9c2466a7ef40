"""Each rule speaks where its change would be felt, and keeps quiet where it would not."""

from __future__ import annotations

import pytest
from tests.ui.records import finished_record, graph_of, key_of, report_of

from minispark.errors import Failure, FetchFailed, OutOfMemory, TimedOut, WorkerLost
from minispark.observe.headline import SentenceTime, headline
from minispark.observe.record import JobRecord
from minispark.observe.views import RowStatus, StageProgress, running_stage
from minispark.observe.why import Facts, why
from minispark.scheduler.commands import JobStatus


def rules(record: JobRecord, *, slots: int = 2) -> list[str]:
    return [advice.rule for advice in why(Facts(record, slots))]


def record_of(times: list[tuple[int, float]], *, reducers: int = 2, why: str = "") -> JobRecord:
    """A job whose map tasks read so many rows in so many seconds."""
    record = JobRecord("job-c-1-1", "t", graph_of(tasks=len(times), reducers=reducers, why=why), 0)
    for number, (rows, took_s) in enumerate(times):
        key = key_of(0, number)
        record.launched(key, "ab"[number % 2], 0.0)
        record.succeeded(report_of(key, rows=rows, took_s=took_s), "ab"[number % 2], took_s)
    return record


def test_a_job_without_trouble_has_no_advice() -> None:
    assert rules(finished_record()) == []


def test_skew_is_a_task_with_more_rows_and_more_time() -> None:
    even, large = (1_000, 1.0), (9_000, 8.0)
    assert rules(record_of([even, even, even, large])) == ["skew"]
    advice = why(Facts(record_of([even, even, even, large]), 2))[0]
    assert "Partition 3 of stage 0 (map) got 9,000 rows, 9.0 times the median" in advice.what
    assert advice.stage == "stage-0"
    # Slow without more rows is no skew, nor is what nobody feels.
    assert rules(record_of([even, even, even, (1_000, 8.0)])) == []
    assert rules(record_of([(1_000, 0.01)] * 3 + [(9_000, 0.08)])) == []


def test_a_large_gather() -> None:
    record = record_of([(10, 0.1)] * 4, reducers=1, why="a sort is not split")
    key = key_of(1, 0)
    record.launched(key, "a", 1.0)
    record.succeeded(report_of(key, rows=5_000_000, took_s=7.0), "a", 8.0)
    assert rules(record, slots=8) == ["gather"]
    assert "a sort is not split" in why(Facts(record, 8))[0].what


@pytest.mark.parametrize(("tasks", "slots", "found"), [(2, 8, ["idle-slots"]), (2, 2, [])])
def test_idle_slots(tasks: int, slots: int, found: list[str]) -> None:
    assert rules(record_of([(1_000, 4.0)] * tasks), slots=slots) == found


def test_too_many_short_tasks() -> None:
    assert rules(record_of([(5, 0.002)] * 100)) == ["short-tasks"]
    assert rules(record_of([(5, 0.2)] * 100)) == []


def test_a_slow_worker() -> None:
    assert rules(record_of([(10, 0.3), (10, 1.0)] * 6 + [(10, 0.3)] * 3)) == ["slow-worker"]


def test_failures_are_told_by_kind() -> None:
    record = record_of([(10, 0.1)] * 4)
    kinds: tuple[Failure, ...] = (
        WorkerLost("gone"),
        OutOfMemory(1),
        TimedOut(1.0),
        FetchFailed("job-c-1-1", 0, 0, 0, 0, "gone"),
    )
    for number, failure in enumerate(kinds):
        key = key_of(1, number % 2, attempt=number // 2)
        record.launched(key, "a", 1.0)
        record.failed(key, failure, "a", 2.0)
    found = [advice for advice in why(Facts(record, 2)) if advice.rule == "retries"]
    assert [advice.what.partition(" ")[0] for advice in found] == ["1"] * 4
    assert any("--memory-limit-mb" in advice.change for advice in found)


def test_a_rollback() -> None:
    record = record_of([(10, 0.1)] * 4)
    record.launched(key_of(0, 0)._replace(generation=1), "a", 3.0)
    assert rules(record) == ["rollback"]


def test_one_sentence_on_top() -> None:
    record = record_of([(10, 0.1)] * 4)
    for number in range(2):
        record.launched(key_of(1, number), "b", 3.0)
    record.worker_lost("b", "no heartbeat for 10 s", 61.0)
    record.launched(key_of(1, 0, attempt=1), "a", 62.0)
    said = headline(record, record.view(), record.metrics())
    assert said == [
        "Stage 2 of 2 (reduce), 99 %",
        ", ",
        "worker b lost at ",
        SentenceTime(at=61.0),
        ", ",
        "1 task runs again",
    ]
    record.finished(JobStatus.CANCELLED, None, 70.0)
    said = headline(record, record.view(), record.metrics())
    assert said[0] == "Cancelled after 70.0 s, at 99 %"
    assert said[-1] == "1 task ran again"


@pytest.mark.parametrize(
    ("statuses", "first"),
    [
        (("RUNNING", "SUCCEEDED", "PENDING"), "Stage 1 of 3 (a), 0 %"),
        (("SUCCEEDED", "RUNNING", "RUNNING"), "Stage 2 of 3 (b), 0 %"),
        (("SKIPPED", "SUCCEEDED", "RUNNING"), "Stage 3 of 3 (c), 0 %"),
        (("SKIPPED", "PENDING", "PENDING"), "Stage 2 of 3, 0 %"),
        (("SUCCEEDED", "SKIPPED", "SUCCEEDED"), "All tasks done, its output is being published"),
    ],
)
def test_the_number_of_a_stage_is_its_place_in_the_plan(
    statuses: tuple[RowStatus, ...], first: str
) -> None:
    record = record_of([])
    stages = [
        StageProgress(id=name, name=name, status=status, tasks=1, tasks_done=0)
        for name, status in zip("abc", statuses, strict=True)
    ]
    view = record.view().model_copy(
        update={"status": JobStatus.RUNNING, "stages": stages, "progress": 0.0}
    )
    assert headline(record, view, record.metrics())[0] == first
    ours = first.partition(",")[0].lower() if "(" in first else None
    assert running_stage(view.stages) == ours
