"""Second attempts of stragglers: when there is one, who wins, and what the loser costs."""

from __future__ import annotations

from dataclasses import replace
from json import dumps, loads

import pytest
from tests.scheduler.play import OTHER, RECEIPT, Play, finished, gone, key, map_reduce, single

from minispark.errors import ErrorInfo, OutOfMemory, TaskError
from minispark.ids import TaskKey
from minispark.plan.stages import Label
from minispark.scheduler import Scheduler, snapshot
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    CommitJob,
    FinishJob,
    LaunchTask,
    ReleaseBlocks,
    WorkerDown,
)
from minispark.scheduler.events import (
    JobCancelRequested,
    MasterRestarted,
    TaskSucceeded,
    TimerFired,
    WorkerDraining,
    WorkerHeartbeat,
    WorkerLeft,
)
from minispark.scheduler.reasons import SPECULATIVE
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.settings import SchedulerSettings

SETTINGS = SchedulerSettings(max_prefetch=0)
SLOW = key(0, 3)
SECOND = key(0, 3, 1)


def second(worker: str, attempt: TaskKey = SECOND) -> LaunchTask:
    return LaunchTask(worker, 1, attempt, (), SPECULATIVE)


def beat_all(play: Play) -> None:
    for status in play.scheduler.worker_status():
        if status.status != "DOWN":
            play.beat(status.worker, *play.scheduler.active_attempts(status.worker))


def until_late(
    spec: JobSpec | None = None, *, settings: SchedulerSettings = SETTINGS
) -> tuple[Play, list[Command]]:
    """Four tasks of which three end after 2 s; then it is 4 s, twice their time."""
    play = Play("w0", "w1", "w2", "w3", settings=settings)
    play.submit(spec or single(4))
    play.now = 2.0
    beat_all(play)
    for partition in range(3):
        assert play.done(key(0, partition)) == []
    play.now = 4.0
    beat_all(play)
    return play, play.tell(TimerFired())


def racing() -> Play:
    play, launched = until_late()
    assert launched == [second("w0")]
    return play


def test_a_straggler_gets_a_second_attempt_when_it_took_twice_the_median() -> None:
    play = Play("w0", "w1", "w2", "w3", settings=SETTINGS)
    play.submit(single(4))
    play.now = 2.0
    beat_all(play)
    play.done(key(0, 0))
    play.done(key(0, 1))
    play.done(key(0, 2))
    assert play.scheduler.wake_s == 4.0
    play.now = 3.9
    beat_all(play)
    assert play.tell(TimerFired()) == []
    assert play.tell(TimerFired(), at=4.0) == [second("w0")]
    # Never a third.
    play.now = 60.0
    beat_all(play)
    assert play.tell(TimerFired()) == []


def test_the_second_wins_and_the_first_is_cancelled() -> None:
    play = racing()
    home = [BlockRef(key(0, p), f"w{p}", 0) for p in range(3)]
    (cancel, finish, *_) = play.done(SECOND)
    assert cancel == CancelTask("w3", 1, SLOW)
    assert finish == finished(*home, BlockRef(SECOND, "w0", 0))
    # The first ended all the same: nobody wants its block.
    assert play.done(SLOW) == [ReleaseBlocks("w3", 1, (SLOW,))]


def test_the_first_wins_and_the_second_is_cancelled() -> None:
    play = racing()
    (cancel, finish, *_) = play.done(SLOW)
    assert cancel == CancelTask("w0", 1, SECOND)
    assert isinstance(finish, FinishJob)
    assert finish.results[3] == BlockRef(SLOW, "w3", 0)


def test_of_two_that_both_ended_the_loser_can_prove_the_plan_wrong() -> None:
    spec = map_reduce(4, 1)
    play, launched = until_late(spec)
    assert [c.key for c in launched if isinstance(c, LaunchTask)] == [SECOND]
    play.done(SECOND)
    stage = play.scheduler.state.jobs["j"].stages[0]
    assert play.done(SLOW, RECEIPT) == [ReleaseBlocks("w3", 1, (SLOW,))]
    labels = [stage.label]
    assert play.done(SLOW, OTHER) == [ReleaseBlocks("w3", 1, (SLOW,))]
    labels.append(stage.label)
    assert labels == [Label.DETERMINATE, Label.INDETERMINATE]


@pytest.mark.parametrize("label", list(Label))
def test_what_may_give_other_rows_is_never_run_beside_itself(label: Label) -> None:
    _, launched = until_late(map_reduce(4, 1, label))
    assert bool(launched) is (label is not Label.INDETERMINATE)


def test_it_can_be_switched_off() -> None:
    _, launched = until_late(settings=replace(SETTINGS, speculation=False))
    assert launched == []


def test_nothing_shorter_than_two_seconds_is_a_straggler() -> None:
    play = Play("w0", "w1", "w2", "w3", settings=SETTINGS)
    play.submit(single(4))
    play.now = 0.1
    for partition in range(3):
        play.done(key(0, partition))
    play.now = 1.9
    assert play.tell(TimerFired()) == []
    assert play.tell(TimerFired(), at=2.0) == [second("w0")]


def test_before_three_quarters_are_done_nothing_is_slow() -> None:
    play = Play("w0", "w1", "w2", "w3", settings=SETTINGS)
    play.submit(single(4))
    for partition in range(2):
        play.done(key(0, partition))
    play.now = 9.0
    beat_all(play)
    assert play.tell(TimerFired()) == []


def test_what_is_ready_goes_first() -> None:
    play = Play("w0", "w1", settings=SETTINGS)
    play.submit(single(4))
    play.now = 2.0
    beat_all(play)
    for partition in (0, 2, 3):
        play.done(key(0, partition))
    play.submit(single(9, job="other"))
    play.now = 9.0
    beat_all(play)
    commands = play.done(play.scheduler.active_attempts("w0")[0])
    assert {c.key.job for c in commands if isinstance(c, LaunchTask)} == {"other"}


def test_a_second_attempt_that_fails_costs_nothing_and_is_the_last() -> None:
    play = racing()
    task = play.scheduler.state.jobs["j"].stages[0].tasks[3]
    bad = TaskError(ErrorInfo("MS-211", "not a number", file="a.csv"))
    for failure in (OutOfMemory(1), bad):
        assert play.failed(SECOND, failure) == []
        assert (task.charged, task.losses, task.refetched) == (0, 0, 0)
    assert play.scheduler.active_attempts("w3") == (SLOW,)
    play.now = 60.0
    beat_all(play)
    assert play.tell(TimerFired()) == []
    assert any(isinstance(c, FinishJob) for c in play.done(SLOW))


def test_a_first_attempt_that_fails_is_charged_and_the_second_goes_on() -> None:
    play = racing()
    task = play.scheduler.state.jobs["j"].stages[0].tasks[3]
    assert play.failed(SLOW, OutOfMemory(1)) == []
    assert (task.charged, task.avoid) == (1, ("w3",))
    # Alone it is an attempt like any other.
    (launch,) = play.failed(SECOND, OutOfMemory(1))
    assert isinstance(launch, LaunchTask)
    assert (launch.key, launch.speculative) == (key(0, 3, 2), False)
    assert task.charged == 2


@pytest.mark.parametrize("lost", ["w0", "w3"])
def test_losing_the_worker_of_one_leaves_the_other_running(lost: str) -> None:
    # Elsewhere the stage hung: the twin had been counted as the task's only attempt.
    play = racing()
    rest = SLOW if lost == "w0" else SECOND
    commands = play.tell(WorkerLeft(lost, 1))
    assert commands[0] == WorkerDown(lost, 1)
    launched = [c.key for c in commands if isinstance(c, LaunchTask)]
    # w0 had the block of partition 0, which is made again; the racing task is not.
    assert launched == ([key(0, 0, 1)] if lost == "w0" else [])
    assert play.scheduler.active_attempts(play.home[rest]) == (rest,)
    task = play.scheduler.state.jobs["j"].stages[0].tasks[3]
    assert task.losses == (0 if lost == "w0" else 1)


def test_a_fetch_failure_of_one_leaves_the_other_running() -> None:
    play = Play("w0", "w1", "w2", "w3", settings=SETTINGS)
    play.submit(map_reduce(4, 4))
    for partition in range(4):
        play.done(key(0, partition))
    play.now = 2.0
    beat_all(play)
    for partition in range(3):
        play.done(key(1, partition))
    play.now = 4.0
    beat_all(play)
    (launch,) = play.tell(TimerFired())
    assert isinstance(launch, LaunchTask)
    assert (launch.key, launch.speculative) == (key(1, 3, 1), True)
    # It finds a block gone that the first has read already: nobody needs it any more.
    assert play.failed(launch.key, gone(key(0, 1))) == []
    assert play.scheduler.active_attempts(play.home[key(1, 3)]) == (key(1, 3),)
    beat_all(play)
    assert any(isinstance(c, FinishJob) for c in play.done(key(1, 3)))


def test_of_two_files_one_is_published() -> None:
    play, _ = until_late(single(4, sink=True))
    assert play.done(SECOND) == [
        CancelTask("w3", 1, SLOW),
        CommitJob("j", (*(key(0, p) for p in range(3)), SECOND)),
    ]


def test_both_are_cancelled_with_their_job() -> None:
    play = racing()
    cancels = [c for c in play.tell(JobCancelRequested("j")) if isinstance(c, CancelTask)]
    assert cancels == [CancelTask("w0", 1, SECOND), CancelTask("w3", 1, SLOW)]
    assert play.scheduler.state.jobs["j"].leased == 0


def test_a_worker_that_leaves_lets_its_attempt_go_to_nobody() -> None:
    play = racing()
    play.tell(WorkerDraining("w0", 1))
    play.now = 40.0
    for worker in ("w0", "w1", "w2", "w3"):
        play.beat(worker, *play.scheduler.active_attempts(worker))
    commands = play.tell(TimerFired())
    assert CancelTask("w0", 1, SECOND) in commands
    assert play.scheduler.active_attempts("w3") == (SLOW,)


def test_a_lease_that_went_astray_is_no_loss_while_the_other_runs() -> None:
    play = racing()
    play.tell(WorkerHeartbeat("w0", 1, ()), at=6.0)
    assert play.tell(WorkerHeartbeat("w0", 1, ()), at=20.0) == []
    task = play.scheduler.state.jobs["j"].stages[0].tasks[3]
    assert (task.losses, play.scheduler.active_attempts("w0")) == (0, ())


def test_a_race_goes_on_over_a_restart_of_the_master() -> None:
    play = racing()
    kept = loads(dumps(snapshot.dump(play.scheduler.state)))
    play.scheduler = Scheduler(SETTINGS, snapshot.load(kept))
    again = play.tell(MasterRestarted())
    assert LaunchTask("w0", 1, SECOND, ()) in again
    assert LaunchTask("w3", 1, SLOW, ()) in again
    assert play.done(SECOND)[0] == CancelTask("w3", 1, SLOW)
    assert play.tell(TaskSucceeded(SLOW, "w3", 1, RECEIPT, ()))[0].kind == "release_blocks"


def test_an_excluded_worker_gets_no_second_attempts() -> None:
    play = Play("w0", "w1", settings=replace(SETTINGS, exclude_after=1))
    spec = JobSpec("j", (StageSpec(0, (StageBranch(4),), result=True),))
    play.submit(spec)
    no_disk = TaskError(ErrorInfo("MS-214", "no space"), transient=True)
    play.now = 1.0
    beat_all(play)
    play.failed(play.scheduler.active_attempts("w0")[0], no_disk)
    for _ in range(3):
        play.done(play.scheduler.active_attempts("w1")[0])
    play.now = 30.0
    beat_all(play)
    assert play.tell(TimerFired()) == []
