"""Incidents, as they happen to such systems: what comes in, and exactly what goes out."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scheduler.play import (
    OTHER,
    RECEIPT,
    Play,
    failed,
    finished,
    key,
    launch_keys,
    map_reduce,
    released,
    single,
)

from minispark.errors import (
    Cancelled,
    ErrorInfo,
    OutOfMemory,
    TaskError,
    WorkerLost,
)
from minispark.plan.stages import Label, ReadMode, StageInput
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    CommitJob,
    FinishJob,
    JobStatus,
    LaunchTask,
    ReleaseBlocks,
    WorkerDown,
)
from minispark.scheduler.events import (
    JobCancelRequested,
    JobCommitFailed,
    JobCommitted,
    JobReleased,
    TaskSucceeded,
    TimerFired,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.settings import SchedulerSettings


def error(message: str, **where: Any) -> TaskError:
    return TaskError(ErrorInfo("MS-212", message, **where))


def test_a_job_from_its_submission_to_its_release() -> None:
    play = Play("w0", "w1")
    play.mapped()
    assert play.inputs[key(1, 0)] == play.launch(key(1, 0), "w0", key(0, 0), key(0, 1)).inputs
    assert play.done(key(1, 0)) == []
    # The intermediate blocks go with the job's end, the result stays until it is released.
    assert play.done(key(1, 1)) == [
        finished(BlockRef(key(1, 0), "w0", 0), BlockRef(key(1, 1), "w1", 0)),
        ReleaseBlocks("w0", 1, (key(0, 0),)),
        ReleaseBlocks("w1", 1, (key(0, 1),)),
    ]
    assert play.tell(JobReleased("j")) == released("w0", "w1")
    assert play.scheduler.is_empty_of("j")
    assert play.scheduler.job_status("j") is None


def test_sinks_are_committed_before_the_job_succeeds() -> None:
    play = Play("w0", "w1")
    play.submit(single(2, sink=True))
    play.done(key(0, 1))
    assert play.done(key(0, 0)) == [CommitJob("j", (key(0, 0), key(0, 1)))]
    # Files that are being published cannot be called back.
    assert play.tell(JobCancelRequested("j")) == []
    assert play.tell(JobCommitted("j"))[0] == finished()
    assert play.tell(JobCommitted("j")) == []


def test_a_commit_that_fails_ends_the_job_with_its_reason() -> None:
    play = Play("w0")
    play.submit(single(sink=True))
    play.done(key(0, 0))
    no_space = error("no space left on device")
    assert play.tell(JobCommitFailed("j", no_space)) == [
        failed(None, no_space),
        *released("w0"),
    ]


def test_a_broken_plan_ends_its_own_job_and_nothing_else() -> None:
    play = Play("w0")
    edge = StageInput("in", 7, ReadMode.ALL)
    (finish,) = play.submit(JobSpec("j", (StageSpec(0, (StageBranch(1, (edge,)),), result=True),)))
    assert isinstance(finish, FinishJob)
    assert finish.status is JobStatus.FAILED


def test_forward_edges_start_as_their_own_partition_arrives() -> None:
    # A union: tasks 0 and 1 read stage 0, tasks 2 and 3 read stage 1, each by number.
    play = Play("w0", slots=4)
    forward = [(StageBranch(2, (StageInput("in", s, ReadMode.FORWARD),))) for s in (0, 1)]
    play.submit(
        JobSpec(
            "j",
            (
                StageSpec(0, (StageBranch(2),)),
                StageSpec(1, (StageBranch(2),)),
                StageSpec(2, tuple(forward), result=True),
            ),
        )
    )
    (launch,) = play.done(key(1, 0))
    assert isinstance(launch, LaunchTask)
    assert launch.key == key(2, 2)
    assert launch.inputs[0].blocks == (BlockRef(key(1, 0), "w0", 0),)


def test_an_executor_that_dies_three_times_ends_the_job() -> None:
    play = Play("w0", "w1")
    died = WorkerLost("the executor ended with signal 11")
    play.submit(single())
    assert play.failed(key(0, 0), died) == [play.launch(key(0, 0, 1), "w1")]
    assert launch_keys(play.failed(key(0, 0, 1), died)) == [key(0, 0, 2)]
    finish = play.failed(key(0, 0, 2), died)[0]
    assert isinstance(finish, FinishJob)
    assert finish.key == key(0, 0, 2)
    assert isinstance(finish.failure, TaskError)
    assert finish.failure.error.code == "MS-225"
    assert finish.failure.error.message == (
        "a task ended its executor process 3 times; each time: the executor ended with signal 11"
    )


def test_one_attempt_charges_once() -> None:
    # Elsewhere one zombie, found three times, used up all retries.
    play = Play("w0", "w1")
    play.submit(single())
    for _ in range(3):
        play.failed(key(0, 0), OutOfMemory(1))
    assert play.scheduler.state.jobs["j"].stages[0].tasks[0].charged == 1


def test_a_task_that_kills_every_worker_ends_its_job_not_the_cluster() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=0, max_task_losses=3))
    play.submit(single())
    for epoch in (1, 2):
        play.tell(WorkerLeft("w0", epoch))
        play.tell(WorkerRegistered("w0", epoch + 1, 1))
    _down, finish = play.tell(WorkerLeft("w0", 3))
    assert isinstance(finish, FinishJob)
    assert finish.key == key(0, 0, 2)
    assert isinstance(finish.failure, TaskError)
    assert finish.failure.error.code == "MS-224"
    assert finish.failure.error.message == (
        "a task was lost with its worker 3 times; the last time: w0: it said goodbye"
    )


def test_a_task_that_outgrows_every_worker_says_by_how_much() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    for attempt, used in enumerate((700, 900, 800)):
        last = play.failed(key(0, 0, attempt), OutOfMemory(512, used))[0]
    assert last == failed(key(0, 0, 2), OutOfMemory(512, 800))


def test_the_same_exception_on_two_workers_is_the_users() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    assert play.failed(key(0, 0), error("no column x")) == [play.launch(key(0, 0, 1), "w1")]
    assert play.failed(key(0, 0, 1), error("no column x")) == [
        failed(key(0, 0, 1), error("no column x")),
        *released("w0", "w1"),
    ]


def test_an_exception_with_nobody_else_to_ask_ends_the_job() -> None:
    play = Play("w0")
    play.submit(single())
    assert play.failed(key(0, 0), error("no column x")) == [
        failed(key(0, 0), error("no column x")),
        *released("w0"),
    ]


def test_other_sentences_are_tried_three_times() -> None:
    play = Play("w0", "w1", "w2")
    play.submit(single())
    for attempt in range(2):
        (launch,) = play.failed(key(0, 0, attempt), error(f"object at 0x{attempt}"))
        assert isinstance(launch, LaunchTask)
    last = error("object at 0x2")
    assert play.failed(key(0, 0, 2), last)[0] == failed(key(0, 0, 2), last)


def test_bad_data_ends_the_job_at_once() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    bad = error("not a number", file="a.csv")
    assert play.failed(key(0, 0), bad)[0] == failed(key(0, 0), bad)


def test_a_worker_that_cancels_by_itself_is_asked_again() -> None:
    play = Play("w0")
    play.submit(single())
    assert play.failed(key(0, 0), Cancelled()) == [play.launch(key(0, 0, 1), "w0")]


def test_cancelling_a_running_job_leaves_nothing_behind() -> None:
    play = Play("w0", "w1")
    play.submit(map_reduce(3, 1))
    play.done(key(0, 0))
    assert play.tell(JobCancelRequested("j")) == [
        CancelTask("w0", 1, key(0, 2)),
        CancelTask("w1", 1, key(0, 1)),
        FinishJob("j", JobStatus.CANCELLED, Cancelled()),
        *released("w0", "w1"),
    ]
    # It had ended all the same: its block goes too.
    assert play.done(key(0, 1)) == [ReleaseBlocks("w1", 1, (key(0, 1),))]
    play.tell(JobReleased("j"))
    assert play.scheduler.is_empty_of("j")


def test_without_a_worker_the_job_says_so_and_ends() -> None:
    play = Play()
    assert play.submit(single()) == []
    assert play.scheduler.job_status("j") is JobStatus.ACCEPTED
    assert play.scheduler.wake_s == 60.0
    (finish,) = play.tell(TimerFired(), at=60.0)
    assert isinstance(finish, FinishJob)
    assert isinstance(finish.failure, TaskError)
    assert finish.failure.error.message == "no worker was there for 60 s"
    assert finish.failure.error.hint is not None


def test_a_worker_that_comes_in_time_saves_the_job() -> None:
    play = Play()
    play.submit(single())
    assert play.tell(WorkerRegistered("w0", 1, 1), at=59.0) == [play.launch(key(0, 0), "w0")]
    assert play.tell(TimerFired(), at=60.0) == []


def test_a_result_that_is_lost_during_the_commit_is_made_again() -> None:
    play = Play("w0", "w1")
    both = JobSpec(
        "j",
        (
            StageSpec(0, (StageBranch(1),), result=True),
            StageSpec(1, (StageBranch(1),), sink=True),
        ),
    )
    play.submit(both)
    play.done(key(0, 0))
    assert play.done(key(1, 0)) == [CommitJob("j", (key(1, 0),))]
    assert play.tell(WorkerLeft("w0", 1)) == [WorkerDown("w0", 1)]
    assert play.tell(JobCommitted("j")) == [play.launch(key(0, 0, 1), "w1")]
    assert play.done(key(0, 0, 1))[0] == finished(BlockRef(key(0, 0, 1), "w1", 0))


def test_delivered_output_is_never_contradicted() -> None:
    # The files were made from rows that cannot be made again, and a result needs them again.
    play = Play("w0", "w1")
    unsteady = Label.INDETERMINATE
    forward = StageInput("in", 0, ReadMode.FORWARD)
    play.submit(
        JobSpec(
            "j",
            (
                StageSpec(0, (StageBranch(1),), unsteady),
                StageSpec(1, (StageBranch(1, (forward,)),), sink=True),
                StageSpec(2, (StageBranch(1, (forward,)),), result=True),
            ),
        )
    )
    play.done(key(0, 0))
    play.done(key(2, 0))
    assert play.done(key(1, 0)) == [CommitJob("j", (key(1, 0),))]
    for worker in ("w0", "w1"):
        play.tell(WorkerLeft(worker, 1))
    (finish,) = play.tell(JobCommitted("j"))
    assert isinstance(finish, FinishJob)
    assert isinstance(finish.failure, TaskError)
    assert finish.failure.error.code == "MS-221"


def test_jobs_take_turns() -> None:
    play = Play("w0")
    play.submit(single(3, job="a"))
    play.submit(single(2, job="b"))
    order = []
    while attempts := play.scheduler.active_attempts("w0"):
        order.append(attempts[0].job)
        play.done(attempts[0])
    assert order == ["a", "b", "a", "b", "a"]


@pytest.mark.parametrize("twice", [False, True])
def test_ids_of_jobs_that_are_known_start_nothing(twice: bool) -> None:
    play = Play("w0")
    play.submit(single())
    if twice:
        play.done(key(0, 0))
    assert play.submit(single()) == []


def test_a_report_that_read_another_generation_is_dropped() -> None:
    play = Play("w0", "w1")
    play.mapped()
    late = TaskSucceeded(key(1, 0), play.home[key(1, 0)], 1, OTHER, ((0, 7),))
    assert play.tell(late) == [ReleaseBlocks(play.home[key(1, 0)], 1, (key(1, 0),))]


def test_an_attempt_that_waits_behind_a_long_one_is_taken_back() -> None:
    """w0 was handed two short tasks, one behind the other, and the first turned out long."""
    play = Play("w0", "w1", settings=SchedulerSettings(max_prefetch=1))
    launched = play.submit(single(4))
    assert [(c.key.partition, c.worker) for c in launched if isinstance(c, LaunchTask)] == [
        (0, "w0"),
        (1, "w1"),
        (2, "w0"),
        (3, "w1"),
    ]
    assert play.done(key(0, 1)) == []
    assert play.done(key(0, 3)) == []
    # w1 is idle; the timer says when what waits on w0 has waited long enough.
    assert play.scheduler.wake_s == 0.5
    assert play.tell(TimerFired(), at=0.5) == [
        CancelTask("w0", 1, key(0, 2)),
        play.launch(key(0, 2, attempt=1), "w1"),
    ]
    # It had begun on w0 after all: too late, the other attempt counts.
    assert play.tell(TaskSucceeded(key(0, 2), "w0", 1, RECEIPT, ())) == [
        ReleaseBlocks("w0", 1, (key(0, 2),))
    ]
    assert play.done(key(0, 2, attempt=1)) == []
    assert play.done(key(0, 0)) == [
        finished(
            BlockRef(key(0, 0), "w0", 0),
            BlockRef(key(0, 1), "w1", 0),
            BlockRef(key(0, 2, attempt=1), "w1", 0),
            BlockRef(key(0, 3), "w1", 0),
        )
    ]
