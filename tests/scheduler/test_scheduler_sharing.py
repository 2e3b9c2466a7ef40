"""How jobs share workers: whose task is next, and who has to make way."""

from __future__ import annotations

from dataclasses import replace
from json import dumps, loads
from typing import Literal

import pytest
from tests.scheduler.play import RECEIPT, Play, key, single

from minispark.ids import TaskKey
from minispark.scheduler import Scheduler, snapshot
from minispark.scheduler.commands import CancelTask, Command, LaunchTask
from minispark.scheduler.events import TaskSucceeded, TimerFired, WorkerHeartbeat
from minispark.settings import SchedulerSettings

ONE_BY_ONE = SchedulerSettings(max_prefetch=0)


def jobs_in_order(play: Play, worker: str = "w0", *, tasks: int) -> list[str]:
    """Let the oldest attempt of a worker end again and again; return whose they were."""
    order: list[str] = []
    for _ in range(tasks):
        attempt = play.scheduler.active_attempts(worker)[0]
        order.append(attempt.job)
        play.done(attempt)
    return order


def of(job: str, partition: int, attempt: int = 0) -> TaskKey:
    return TaskKey(job, 0, 0, partition, attempt)


def launches(commands: list[Command]) -> list[tuple[str, str]]:
    return [(c.key.job, c.worker) for c in commands if isinstance(c, LaunchTask)]


def test_the_job_with_the_least_for_its_weight_is_next() -> None:
    play = Play("w0", slots=8)
    play.submit(replace(single(20, job="light"), weight=1.0))
    assert len(play.scheduler.active_attempts("w0")) == 8
    play.submit(replace(single(20, job="heavy"), weight=3.0))
    for attempt in play.scheduler.active_attempts("w0"):
        play.done(attempt)
    running = [attempt.job for attempt in play.scheduler.active_attempts("w0")]
    assert (running.count("light"), running.count("heavy")) == (2, 6)


def test_on_one_slot_weights_count_by_what_was_given() -> None:
    play = Play("w0", settings=ONE_BY_ONE)
    play.submit(replace(single(20, job="a"), weight=1.0))
    play.submit(replace(single(20, job="b"), weight=3.0))
    order = jobs_in_order(play, tasks=16)
    assert (order.count("a"), order.count("b")) == (4, 12)


def test_a_job_that_comes_late_is_owed_nothing_for_the_past() -> None:
    play = Play("w0", settings=ONE_BY_ONE)
    play.submit(single(40, job="a"))
    jobs_in_order(play, tasks=20)
    play.submit(single(10, job="b"))
    order = jobs_in_order(play, tasks=10)
    assert (order.count("a"), order.count("b")) == (5, 5)


def test_fifo_lets_the_oldest_job_have_all() -> None:
    play = Play("w0", settings=replace(ONE_BY_ONE, policy="fifo"))
    play.submit(single(3, job="a"))
    play.submit(single(2, job="b"))
    assert jobs_in_order(play, tasks=5) == ["a", "a", "a", "b", "b"]


def test_a_short_job_goes_before_what_a_long_one_was_given_ahead() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=2))
    long = play.submit(single(9, job="long"))
    assert launches(long) == [("long", "w0")] * 3
    # Two attempts of the long job wait behind its first: the newcomer does not stand behind them.
    assert play.submit(single(1, job="short")) == [
        CancelTask("w0", 1, of("long", 1)),
        CancelTask("w0", 1, of("long", 2)),
        LaunchTask("w0", 1, of("short", 0), ()),
        LaunchTask("w0", 1, of("long", 1, 1), ()),
    ]
    assert play.scheduler.active_attempts("w0") == (
        of("long", 0), of("short", 0), of("long", 1, 1)
    )  # fmt: skip
    tasks = play.scheduler.state.jobs["long"].stages[0].tasks
    assert all(task.charged == task.losses == 0 for task in tasks)


def test_nobody_makes_way_for_one_who_has_as_much() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=2))
    for job in "abc":
        play.submit(single(1, job=job))
    assert play.submit(single(1, job="d")) == []


def test_in_a_fifo_an_older_job_takes_back_what_a_younger_one_was_given_ahead() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=2, policy="fifo"))
    play.submit(single(9, job="a"))
    assert play.submit(single(1, job="b")) == []


def test_of_a_stage_with_long_tasks_nothing_is_leased_ahead() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=2))
    play.submit(single(9))
    assert len(play.scheduler.active_attempts("w0")) == 3
    play.now = 5.0
    for partition in range(3):
        play.beat("w0", *play.scheduler.active_attempts("w0"))
        play.done(key(0, partition))
        play.now += 5.0
    assert play.scheduler.active_attempts("w0") == (key(0, 3),)


def test_while_a_long_task_waits_for_a_slot_nobody_is_leased_ahead_of_it() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=2))
    play.submit(single(9, job="long"))
    for _ in range(3):
        play.now += 5.0
        play.beat("w0", *play.scheduler.active_attempts("w0"))
        play.done(play.scheduler.active_attempts("w0")[0])
    play.submit(single(9, job="short"))
    # A line of short ones, made longer with each that ends, would keep the long job out for ever.
    order = []
    for _ in range(10):
        attempts = play.scheduler.active_attempts("w0")
        order.append(attempts[0].job)
        play.now += 5.0 if attempts[0].job == "long" else 0.1
        play.beat("w0", *attempts)
        play.done(attempts[0])
    assert order.count("long") == 5


@pytest.mark.parametrize("policy", ["fair", "fifo"])
def test_weight_and_turn_outlive_the_master(policy: Literal["fair", "fifo"]) -> None:
    settings = replace(ONE_BY_ONE, policy=policy)
    play = Play("w0", settings=settings)
    play.submit(replace(single(20, job="a"), weight=1.0))
    play.submit(replace(single(20, job="b"), weight=3.0))
    twin = Play("w0", settings=settings)
    jobs_in_order(play, tasks=7)
    twin.scheduler = Scheduler(
        settings, snapshot.load(loads(dumps(snapshot.dump(play.scheduler.state))))
    )
    twin.inputs, twin.home = dict(play.inputs), dict(play.home)
    assert jobs_in_order(play, tasks=12) == jobs_in_order(twin, tasks=12)


def test_an_attempt_that_had_begun_when_it_was_called_back_is_not_counted() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=2))
    play.submit(single(9, job="long"))
    play.submit(single(1, job="short"))
    late = TaskSucceeded(of("long", 1), "w0", 1, RECEIPT, ())
    (release,) = play.tell(late)
    assert release.kind == "release_blocks"
    assert play.tell(WorkerHeartbeat("w0", 1, (of("long", 0),))) == []
    assert play.tell(TimerFired()) == []
