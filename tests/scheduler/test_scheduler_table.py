"""Every event in every state of a job is handled, or changes nothing. Illegal arrows raise."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from itertools import product

import pytest
from tests.scheduler.play import RECEIPT, Play, gone, key, map_reduce

from minispark.errors import (
    Cancelled,
    ErrorInfo,
    Failure,
    OutOfMemory,
    TaskError,
    TimedOut,
    WorkerLost,
)
from minispark.plan.stages import ReadMode, StageInput
from minispark.scheduler.events import (
    Event,
    JobCancelRequested,
    JobCommitFailed,
    JobCommitted,
    JobReleased,
    JobSubmitted,
    TaskFailed,
    TaskSucceeded,
    TimerFired,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.policy import POLICY, Cause, cause_of
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.scheduler.state import JOB_ARROWS, JobRun, Phase, State
from minispark.scheduler.tasks import (
    IDLE,
    READY,
    TASK_ARROWS,
    WAITING,
    Done,
    IllegalMoveError,
    Leased,
    Task,
    TaskState,
)

SPEC = JobSpec(
    "j",
    (
        StageSpec(0, (StageBranch(1),)),
        StageSpec(1, (StageBranch(1, (StageInput("in", 0, ReadMode.ALL),)),), result=True),
        StageSpec(2, (StageBranch(1, (StageInput("in", 0, ReadMode.ALL),)),), sink=True),
    ),
)
OOM = OutOfMemory(1)


def _accepted() -> Play:
    play = Play()
    play.submit(SPEC)
    return play


def _running() -> Play:
    play = Play("w0", "w1")
    play.submit(SPEC)
    return play


def _committing() -> Play:
    play = _running()
    for stage in (0, 1, 2):
        play.done(key(stage, 0))
    return play


def _delivered() -> Play:
    play = _committing()
    play.tell(WorkerLeft(play.home[key(1, 0)], 1))
    play.tell(JobCommitted("j"))
    return play


def _succeeded() -> Play:
    play = _committing()
    play.tell(JobCommitted("j"))
    return play


def _failed() -> Play:
    play = _committing()
    play.tell(JobCommitFailed("j", OOM))
    return play


def _cancelled() -> Play:
    play = _running()
    play.tell(JobCancelRequested("j"))
    return play


MAKE: dict[Phase, Callable[[], Play]] = {
    Phase.ACCEPTED: _accepted,
    Phase.RUNNING: _running,
    Phase.COMMITTING: _committing,
    Phase.DELIVERED: _delivered,
    Phase.SUCCEEDED: _succeeded,
    Phase.FAILED: _failed,
    Phase.CANCELLED: _cancelled,
}
EVENTS: tuple[Event, ...] = (
    JobSubmitted(SPEC),
    JobCancelRequested("j"),
    JobCommitted("j"),
    JobCommitFailed("j", OOM),
    JobReleased("j"),
    WorkerRegistered("w0", 1, 1),
    WorkerRegistered("w0", 9, 1),
    WorkerRegistered("w9", 9, 1),
    WorkerHeartbeat("w0", 1, ()),
    WorkerHeartbeat("w0", 1, (key(0, 0), key(7, 7))),
    WorkerHeartbeat("w9", 1, ()),
    WorkerLeft("w0", 1),
    WorkerLeft("w9", 1),
    TaskSucceeded(key(0, 0), "w0", 1, RECEIPT),
    TaskSucceeded(key(7, 7), "w0", 1, RECEIPT),
    TaskSucceeded(key(0, 7), "w0", 1, RECEIPT),
    TaskSucceeded(key(0, 0), "w1", 1, RECEIPT),
    TaskFailed(key(0, 0), "w0", 1, OOM),
    TaskFailed(key(0, 0), "w0", 1, gone(key(0, 0))),
    TaskFailed(key(0, 0, 3), "w0", 1, OOM),
    TimerFired(),
)
ENDS = {
    (Phase.ACCEPTED, JobCancelRequested): Phase.CANCELLED,
    (Phase.RUNNING, JobCancelRequested): Phase.CANCELLED,
    (Phase.DELIVERED, JobCancelRequested): Phase.CANCELLED,
    (Phase.COMMITTING, JobCommitted): Phase.SUCCEEDED,
    (Phase.COMMITTING, JobCommitFailed): Phase.FAILED,
}


@pytest.mark.parametrize(("phase", "event"), list(product(MAKE, EVENTS)))
def test_every_event_in_every_state_of_a_job(phase: Phase, event: Event) -> None:
    play = MAKE[phase]()
    jobs = play.scheduler.state.jobs
    assert jobs["j"].phase is phase
    play.tell(event)
    play.tell(event)
    match event:
        case JobReleased() if phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED):
            assert play.scheduler.is_empty_of("j")
        case WorkerRegistered() if phase is Phase.ACCEPTED:
            assert jobs["j"].phase is Phase.RUNNING
        case WorkerLeft() | WorkerRegistered() if phase is Phase.COMMITTING:
            assert jobs["j"].phase is Phase.COMMITTING
        case _:
            assert jobs["j"].phase is ENDS.get((phase, type(event)), phase)


STATES: tuple[TaskState, ...] = (
    IDLE,
    WAITING,
    READY,
    Leased(key(0, 0), "w0"),
    Done(key(0, 0), "w0", RECEIPT),
)


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_a_task_takes_only_arrows_of_the_table(before: TaskState, after: TaskState) -> None:
    task = Task(state=before)
    if (type(before), type(after)) in TASK_ARROWS:
        task.move(after)
        assert task.state is after
    else:
        with pytest.raises(IllegalMoveError):
            task.move(after)
        assert task.state is before


@pytest.mark.parametrize(("before", "after"), list(product(Phase, Phase)))
def test_a_job_takes_only_arrows_of_the_table(before: Phase, after: Phase) -> None:
    job = JobRun("j", before)
    if (before, after) in JOB_ARROWS:
        job.move(after)
        assert job.phase is after
    else:
        with pytest.raises(IllegalMoveError):
            job.move(after)
        assert job.phase is before


def test_every_failure_has_a_row_and_every_row_is_used() -> None:
    reported: dict[Failure, Cause] = {
        TaskError(ErrorInfo("MS-211", "x", file="a.csv")): Cause.BAD_DATA,
        TaskError(ErrorInfo("MS-211", "x")): Cause.OWN_ERROR,
        TaskError(ErrorInfo("MS-214", "x", file="a.csv"), transient=True): Cause.PASSING_ERROR,
        OOM: Cause.OUT_OF_MEMORY,
        TimedOut(1.0): Cause.TIMED_OUT,
        WorkerLost("x"): Cause.EXECUTOR_LOST,
        Cancelled(): Cause.CANCELLED,
        gone(key(0, 0)): Cause.INPUT_GONE,
    }
    assert {failure: cause_of(failure) for failure in reported} == reported
    assert set(POLICY) == set(Cause)
    assert set(Cause) - set(reported.values()) == {Cause.WORKER_DOWN, Cause.LEASE_LOST}


def test_nothing_is_left_of_a_job_anywhere() -> None:
    """Walk through every collection by reflection, so that a new one cannot be forgotten."""
    play = Play("w0", "w1")
    play.submit(map_reduce(3, 2))
    play.done(key(0, 0))
    state = play.scheduler.state
    assert _mentions(state, "j")
    for attempt in (key(0, 1), key(0, 2), key(1, 0), key(1, 1)):
        play.done(attempt)
    assert _mentions(state, "j")
    play.tell(JobReleased("j"))
    assert not _mentions(state, "j")
    assert not _mentions(play.scheduler, "j")


def _mentions(thing: object, name: str) -> bool:
    match thing:
        case str():
            return thing == name
        case dict():
            return any(_mentions(part, name) for pair in thing.items() for part in pair)
        case list() | tuple() | set() | frozenset():
            return any(_mentions(part, name) for part in thing)
        case None | int() | float() | Enum():
            return False
    names = getattr(type(thing), "__slots__", None) or vars(thing)
    assert not isinstance(thing, State) or "jobs" in names
    return any(_mentions(getattr(thing, name_of), name) for name_of in names)
