"""Workers that get no work though they live: too much failed on them, or they are full."""

from __future__ import annotations

import pytest
from tests.scheduler.play import Play, failed, finished, key, released, single

from minispark.errors import (
    Cancelled,
    ErrorInfo,
    Failure,
    OutOfMemory,
    TaskError,
    TimedOut,
    WorkerLost,
)
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    FinishJob,
    LaunchTask,
)
from minispark.scheduler.events import TimerFired, WorkerHeartbeat, WorkerLeft, WorkerRegistered
from minispark.settings import SchedulerSettings

NO_DISK = TaskError(ErrorInfo("MS-214", "no space left on device"), transient=True)
RAISED = TaskError(ErrorInfo("MS-212", "division by zero"))


def excluded(play: Play) -> list[str]:
    return [w.worker for w in play.scheduler.worker_status() if w.excluded]


def workers_of(commands: list[Command]) -> list[str]:
    return [c.worker for c in commands if isinstance(c, LaunchTask)]


def fail_on(play: Play, worker: str, failure: Failure, times: int) -> list[Command]:
    """Let the oldest attempt on a worker fail, again and again."""
    commands: list[Command] = []
    for _ in range(times):
        commands = play.failed(play.scheduler.active_attempts(worker)[0], failure)
    return commands


def test_a_worker_on_which_three_tasks_fail_in_a_row_is_left_out_for_a_minute() -> None:
    play = Play("w0", "w1")
    play.submit(single(9))
    assert fail_on(play, "w0", NO_DISK, 2) != []
    assert excluded(play) == []
    # The third: what would have gone there goes elsewhere.
    assert workers_of(fail_on(play, "w0", NO_DISK, 1)) == []
    assert excluded(play) == ["w0"]
    assert play.scheduler.active_attempts("w0") == ()
    play.beat("w0")
    assert workers_of(play.done(play.scheduler.active_attempts("w1")[0])) == ["w1"]
    play.now = 59.0
    for worker in ("w0", "w1"):
        play.beat(worker, *play.scheduler.active_attempts(worker))
    assert play.tell(TimerFired()) == []
    assert workers_of(play.tell(TimerFired(), at=60.0)) == ["w0"]
    assert excluded(play) == []


def test_one_success_between_clears_a_worker() -> None:
    play = Play("w0", "w1")
    play.submit(single(30))
    for _ in range(3):
        fail_on(play, "w0", NO_DISK, 1)
        play.done(play.scheduler.active_attempts("w0")[0])
        fail_on(play, "w0", NO_DISK, 1)
        play.done(play.scheduler.active_attempts("w0")[0])
    assert excluded(play) == []


def test_the_same_task_counts_once() -> None:
    # It is tried again where it failed, since there is nobody else: that says nothing new.
    play = Play("w0", settings=SchedulerSettings(max_prefetch=0, max_attempts=9))
    play.submit(single(1))
    fail_on(play, "w0", NO_DISK, 8)
    assert play.scheduler.state.workers["w0"].failed_tasks == {("j", 0, 0): None}


@pytest.mark.parametrize("failure", [OutOfMemory(1), TimedOut(1.0), WorkerLost("signal 9")])
def test_what_may_be_the_workers_fault_counts(failure: Failure) -> None:
    play = Play("w0", "w1")
    play.submit(single(9))
    fail_on(play, "w0", failure, 3)
    assert excluded(play) == ["w0"]


def test_what_a_users_function_raises_does_not_count_against_workers() -> None:
    play = Play("w0", "w1", "w2")
    play.submit(single(9))
    fail_on(play, "w0", RAISED, 3)
    fail_on(play, "w0", Cancelled(), 3)
    assert excluded(play) == []


def test_what_raises_on_one_worker_only_counts_once_it_ended_well_elsewhere() -> None:
    """A module is missing on w0: each of its tasks fails there and passes on w1."""
    play = Play("w0", "w1")
    play.submit(single(20))
    fail_on(play, "w0", RAISED, 3)
    assert excluded(play) == []
    while not excluded(play):
        play.done(play.scheduler.active_attempts("w1")[0])
    assert excluded(play) == ["w0"]


def test_when_it_is_so_everywhere_it_is_not_the_workers() -> None:
    play = Play("w0", "w1", slots=3)
    play.submit(single(20))
    there = play.scheduler.active_attempts("w1")
    fail_on(play, "w0", NO_DISK, 3)
    assert excluded(play) == ["w0"]
    play.failed(there[0], NO_DISK)
    play.failed(there[1], NO_DISK)
    assert excluded(play) == ["w0"]
    play.failed(there[2], NO_DISK)
    assert excluded(play) == []


def test_who_is_left_out_works_again_when_everybody_else_has_gone() -> None:
    play = Play("w0", "w1")
    play.submit(single(9))
    fail_on(play, "w0", NO_DISK, 3)
    assert workers_of(play.tell(WorkerLeft("w1", 1))) == ["w0"]
    assert excluded(play) == ["w0"]


def test_a_new_life_of_a_worker_begins_without_a_record() -> None:
    play = Play("w0", "w1")
    play.submit(single(9))
    fail_on(play, "w0", NO_DISK, 3)
    assert workers_of(play.tell(WorkerRegistered("w0", 2, 1))) == ["w0"]
    assert excluded(play) == []


def test_exclusion_can_be_switched_off() -> None:
    play = Play("w0", "w1", settings=SchedulerSettings(max_prefetch=0, exclude_after=0))
    play.submit(single(9))
    fail_on(play, "w0", NO_DISK, 3)
    assert excluded(play) == []


def test_failures_of_jobs_that_are_over_still_count_and_name_nothing() -> None:
    play = Play("w0", "w1", slots=4)
    for number in range(3):
        name = f"job-{number}"
        play.submit(single(1, job=name))
        home = next(iter(play.scheduler.active_attempts("w0")), None)
        if home is None:
            play.done(play.scheduler.active_attempts("w1")[0])
            play.submit(single(1, job=f"{name}b"))
            home = play.scheduler.active_attempts("w0")[0]
        play.failed(home, NO_DISK)
        play.done(play.scheduler.active_attempts("w1")[0])
    assert excluded(play) == ["w0"]
    assert play.scheduler.state.workers["w0"].failed_tasks == {}


# Back-pressure.


def full(play: Play, worker: str, what: str | None, *, at: float | None = None) -> list[Command]:
    held = play.scheduler.active_attempts(worker)
    return play.tell(WorkerHeartbeat(worker, 1, held, full=what), at)


def test_a_full_worker_gets_nothing_new_until_it_has_room() -> None:
    play = Play("w0", "w1")
    play.submit(single(9))
    assert full(play, "w0", "disk") == []
    assert [w.full for w in play.scheduler.worker_status()] == ["disk", None]
    # What it was given it goes on with.
    assert play.done(key(0, 0)) == []
    assert workers_of(play.done(key(0, 1))) == ["w1"]
    assert workers_of(full(play, "w0", None)) == ["w0"]


def test_what_waits_on_a_worker_that_is_full_goes_elsewhere() -> None:
    play = Play("w0", "w1", settings=SchedulerSettings(max_prefetch=1))
    play.submit(single(4))
    assert full(play, "w0", "memory") == [CancelTask("w0", 1, key(0, 2))]
    assert play.done(key(0, 1)) == [play.launch(key(0, 2, 1), "w1")]


def test_when_all_are_full_and_nothing_runs_jobs_end_with_the_reason() -> None:
    play = Play("w0", "w1")
    play.submit(single(9))
    full(play, "w0", "disk")
    full(play, "w1", "memory")
    play.done(key(0, 0))
    # Something runs yet: its end may make room.
    for at in range(2, 100, 2):
        full(play, "w0", "disk", at=float(at))
        full(play, "w1", "memory")
    assert play.done(key(0, 1)) == []
    for at in range(100, 158, 2):
        full(play, "w0", "disk", at=float(at))
        full(play, "w1", "memory")
    (finish, *_) = play.tell(TimerFired(), at=158.0)
    assert isinstance(finish, FinishJob)
    assert isinstance(finish.failure, TaskError)
    assert finish.failure.error.code == "MS-226"
    assert finish.failure.error.message == (
        "no worker had room for 60 s: their disk and memory is full"
    )


def test_room_in_time_saves_the_job() -> None:
    play = Play("w0")
    full(play, "w0", "disk")
    assert play.submit(single()) == []
    for at in range(2, 60, 2):
        full(play, "w0", "disk", at=float(at))
    assert full(play, "w0", None, at=59.0) == [play.launch(key(0, 0), "w0")]
    assert play.tell(TimerFired(), at=60.0) == []
    assert play.done(key(0, 0)) == [finished(BlockRef(key(0, 0), "w0", 0))]


def test_a_full_worker_does_not_end_a_job_that_an_excluded_one_can_do() -> None:
    play = Play("w0", "w1")
    play.submit(single(9))
    fail_on(play, "w0", NO_DISK, 3)
    assert workers_of(full(play, "w1", "disk")) == ["w0"]
    assert play.scheduler.state.jobs["j"].stranded_s is None


def test_a_worker_that_comes_saves_the_job_from_full_ones() -> None:
    play = Play("w0")
    full(play, "w0", "disk")
    play.submit(single())
    assert workers_of(play.tell(WorkerRegistered("w1", 1, 1))) == ["w1"]
    assert play.scheduler.state.jobs["j"].stranded_s is None


def test_who_waited_for_room_waits_anew_when_the_worker_is_gone() -> None:
    # It had waited for half of its patience; then the last worker, which was full, fell silent.
    play = Play("w0")
    full(play, "w0", "disk")
    play.submit(single())
    for at in range(2, 42, 2):
        full(play, "w0", "disk", at=float(at))
    play.tell(WorkerLeft("w0", 1), at=41.0)
    assert play.tell(TimerFired(), at=61.0) == []
    (finish, *_) = play.tell(TimerFired(), at=101.0)
    assert isinstance(finish, FinishJob)
    assert isinstance(finish.failure, TaskError)
    assert finish.failure.error.message == "no worker was there for 60 s"


def test_bad_data_still_ends_its_job_at_once() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    bad = TaskError(ErrorInfo("MS-211", "not a number", file="a.csv"))
    assert play.failed(key(0, 0), bad) == [failed(key(0, 0), bad), *released("w0")]
    assert play.scheduler.state.workers["w0"].failed_tasks == {}
