"""The attempts of all jobs in lanes."""

from __future__ import annotations

from minispark.ids import TaskKey
from minispark.observe.stage_state import Attempt
from minispark.ui.task_stream import MAX_ATTEMPTS, WIDTH, WINDOW_S, task_stream_of

NOW = 10_000.0


def attempt(
    job: str, number: int, *, begin: float, end: float | None, worker: str = "w1"
) -> Attempt:
    status = "RUNNING" if end is None else "SUCCEEDED"
    took_s = None if end is None else end - begin
    key = TaskKey(job, 0, 0, number, 0)
    return Attempt(key, worker, begin, finished_at=end, status=status, took_s=took_s)


def test_each_slot_is_a_lane_and_each_job_has_a_colour() -> None:
    attempts = [
        attempt("a", 0, begin=NOW - 200, end=NOW - 100),
        attempt("a", 1, begin=NOW - 90, end=None),
        attempt("b", 0, begin=NOW - 150, end=NOW - 50),
        attempt("b", 1, begin=NOW - 30, end=NOW - 20, worker="w2"),
    ]
    stream = task_stream_of(attempts, names={"a": "words"}, slots={"w1": 2, "w2": 1}, now=NOW)
    assert [lane.worker for lane in stream.lanes] == ["w1", "w1", "w2"]
    assert [[task.task for task in lane.tasks] for lane in stream.lanes] == [
        ["a.0.0.0.0", "a.0.0.1.0"],
        ["b.0.0.0.0"],
        ["b.0.0.1.0"],
    ]
    assert [(job.name, job.colour) for job in stream.jobs] == [("words", 0), ("b", 1)]
    first, second = stream.lanes[0].tasks
    scale = WIDTH / WINDOW_S
    assert (first.x, first.width) == (round(100 * scale, 1), round(100 * scale, 1))
    # What runs ends at the right edge.
    assert second.x + second.width == WIDTH
    assert second.text == "words, stage 0 task 1: running, 90.0 s"


def test_only_the_last_minutes_and_the_newest_attempts_are_shown() -> None:
    old = attempt("a", 0, begin=NOW - 900, end=NOW - WINDOW_S - 1)
    cut = attempt("a", 1, begin=NOW - 900, end=NOW - WINDOW_S + 30)
    stream = task_stream_of([old, cut], names={}, slots={"w1": 1}, now=NOW)
    ((task,),) = (lane.tasks for lane in stream.lanes)
    assert (task.task, task.x, task.width) == ("a.0.0.1.0", 0, round(30 * WIDTH / WINDOW_S, 1))
    many = [attempt("a", n, begin=NOW - 250 + n / 10, end=NOW) for n in range(MAX_ATTEMPTS + 5)]
    stream = task_stream_of(many, names={}, slots={}, now=NOW)
    assert len(stream.lanes) + stream.hidden == MAX_ATTEMPTS
    assert stream.hidden == MAX_ATTEMPTS - 60


def test_no_attempt_no_lane() -> None:
    assert task_stream_of([], names={}, slots={"w1": 1}, now=NOW).lanes == ()
