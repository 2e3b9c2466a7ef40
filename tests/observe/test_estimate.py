"""How far a job is and how long it still takes: the state of its stages."""

from __future__ import annotations

import pytest

from minispark.observe.estimate import RunningTask, StageWork, estimate, left_words

GB = 1e9


def stage(
    tasks: int,
    done: int = 0,
    *running: RunningTask,
    task_s: float = 0.0,
    size: float = GB,
    light: bool = False,
) -> StageWork:
    """A stage; ``task_s`` is the mean time of the tasks that are done."""
    return StageWork(tasks, done, done * task_s, size, running, light)


def test_a_short_stage_does_not_count_like_a_long_one() -> None:
    # A stage of 0.8 s in two tasks is done; one of 25 s, of the same number of tasks, has begun.
    short = stage(2, 2, task_s=0.4, size=0.03 * GB)
    assert estimate([short, stage(2)], slots=2).percent < 5
    half = stage(2, 1, RunningTask(0.1), task_s=12.5)
    assert estimate([short, half], slots=2).percent == pytest.approx(50, abs=3)


def test_counting_quotes_of_all_bytes_is_little_work() -> None:
    quotes = stage(4, 4, task_s=0.1, light=True)
    assert estimate([quotes, stage(4)], slots=4).percent < 10


def test_a_task_moves_the_percent_while_it_runs() -> None:
    percents = [
        estimate([stage(1, 0, RunningTask(ran_s, share))], slots=1).percent
        for ran_s, share in ((1.0, 0.1), (5.0, 0.5), (9.0, 0.9))
    ]
    assert percents == pytest.approx([10, 50, 90], abs=0.2)
    # Without a share, the mean of the stage says how far it is; it never seems to be done.
    percents = [
        estimate([stage(2, 1, RunningTask(ran_s), task_s=10.0)], slots=1).percent
        for ran_s in (0.0, 5.0, 30.0, 300.0)
    ]
    assert percents[:2] == [50, 75]
    assert all(90 < percent < 99 for percent in percents[2:])


def test_the_time_left_is_that_of_the_last_slot() -> None:
    # Three tasks of 10 s on two slots take 20 s, not 15.
    found = estimate([stage(5, 2, task_s=10.0)], slots=2)
    assert (found.left_s, found.sure) == (20, "about")
    found = estimate([stage(4, 2, RunningTask(1.0), RunningTask(6.0), task_s=10.0)], slots=2)
    assert (found.left_s, found.sure) == (9, "about")
    found = estimate([stage(100_000, 1, task_s=1.0, size=0)], slots=10)
    assert found.left_s == pytest.approx(10_000, rel=0.01)


def test_one_task_that_says_what_it_has_read_is_enough() -> None:
    found = estimate([stage(1, 0, RunningTask(10.0, 0.2))], slots=1)
    assert (found.left_s, found.sure) == (40, "about")


def test_nothing_is_told_before_anything_is_measured() -> None:
    for work in (stage(4), stage(4, 0, RunningTask(3.0)), stage(4, 0, RunningTask(3.0, 0.01))):
        assert estimate([work], slots=4).left_s is None
    # Without a worker there is no end.
    assert estimate([stage(4, 2, task_s=1.0)], slots=0).left_s is None
    assert estimate([], slots=4).left_s is None


def test_stages_that_may_be_long_make_it_a_lower_bound() -> None:
    running = stage(4, 2, task_s=10.0)
    found = estimate([running, stage(4, size=0.01 * GB)], slots=4)
    assert found.sure == "about"
    assert found.left_s == pytest.approx(10.1, abs=0.2)
    found = estimate([running, stage(4, size=GB)], slots=4)
    assert (found.sure, found.left_s) == ("at least", 10)


def test_a_task_far_beyond_the_mean_makes_it_a_lower_bound() -> None:
    found = estimate([stage(2, 1, RunningTask(25.0), task_s=10.0)], slots=2)
    assert found.sure == "at least"
    # What it has read says more than the mean of the others.
    found = estimate([stage(2, 1, RunningTask(25.0, 0.5), task_s=10.0)], slots=2)
    assert (found.sure, found.left_s) == ("about", 25)


def test_it_is_whole_only_when_all_is_done() -> None:
    done = estimate([stage(2, 2, task_s=1.0), stage(1, 1, task_s=1.0)], slots=2)
    assert (done.percent, done.left_s, done.stages) == (100, None, (100, 100))
    almost = estimate([stage(9_999, 9_998, task_s=1.0)], slots=2)
    assert almost.percent < 100
    assert almost.stages[0] < 100
    # A stage of which no task has to run.
    assert estimate([stage(0), stage(1)], slots=1).stages == (100, 0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (8.6, "9 s"),
        (12, "10 s"),
        (41, "40 s"),
        (57, "55 s"),
        (58, "1 min"),
        (200, "3 min"),
        (3_590, "1 h"),
        (5_500, "1 h 32 min"),
    ],
)
def test_the_words_are_as_exact_as_an_estimate(seconds: float, words: str) -> None:
    assert left_words(seconds, "about") == f"about {words} left"


def test_an_unknown_time_has_no_words() -> None:
    assert left_words(40, "at least") == "at least 40 s left"
    assert left_words(None, None) is None
