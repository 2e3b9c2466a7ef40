"""Why the scheduler decided something: each decision says it, with its evidence."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from tests.scheduler.play import OTHER, Play, gone, key, map_reduce, single

from minispark.errors import ErrorInfo, OutOfMemory, TaskError, TimedOut
from minispark.plan.stages import Label
from minispark.scheduler.events import (
    JobCancelRequested,
    JobCommitFailed,
    MasterRestarted,
    TimerFired,
    WorkerDraining,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.reasons import FIRST, RESENT, Reason, Why
from minispark.settings import SchedulerSettings

BAD_ROW = TaskError(ErrorInfo("MS-160", "bad row", file="a.csv"))


def test_a_first_attempt_runs_or_waits_for_a_slot() -> None:
    play = Play("w0", settings=SchedulerSettings(first_prefetch=1))
    play.submit(single(2))
    assert play.reasons == [FIRST, FIRST]
    assert play.prefetched == [key(0, 1)]


def test_a_retry_names_the_attempt_that_failed() -> None:
    play = Play("w0")
    play.submit(single())
    play.failed(key(0, 0), TimedOut(1.0))
    assert play.reasons == [Reason(Why.FAILED, "w0", key(0, 0))]


def test_the_end_of_a_job_names_the_limit_that_was_reached() -> None:
    play = Play("w0", settings=SchedulerSettings(max_attempts=2, max_prefetch=0))
    play.submit(single())
    play.failed(key(0, 0), OutOfMemory(1))
    play.failed(key(0, 0, 1), OutOfMemory(1))
    assert play.reasons[0] == Reason(Why.MAX_ATTEMPTS, limit=2)


def test_a_failure_that_is_certain_to_come_again_is_not_retried() -> None:
    play = Play("w0")
    play.submit(single())
    play.failed(key(0, 0), BAD_ROW)
    assert play.reasons[0] == Reason(Why.NO_RETRY)


def test_what_a_worker_takes_along_is_named() -> None:
    play = Play("w0", "w1", slots=2)
    play.submit(map_reduce(3, 1))
    play.done(key(0, 0))
    down, *launches = play.tell(WorkerLeft("w0", 1)) and play.reasons
    assert down == Reason(Why.GOODBYE)
    assert (
        launches
        == [
            Reason(Why.OUTPUT_LOST, "w0", key(0, 0)),
            Reason(Why.WORKER_DOWN, "w0", key(0, 2)),
        ][: len(launches)]
    )
    play.tell(WorkerRegistered("w2", 1, 2))
    assert {reason.why for reason in (*launches, *play.reasons) if reason} == {
        Why.OUTPUT_LOST,
        Why.WORKER_DOWN,
    }


def test_a_silent_worker_is_down_after_a_limit() -> None:
    play = Play("w0")
    play.tell(TimerFired(), at=10.0)
    assert play.reasons == [Reason(Why.NO_HEARTBEAT, limit=10.0)]


def test_an_attempt_that_its_worker_does_not_know_is_lost() -> None:
    play = Play("w0")
    play.submit(single())
    for at in (1.0, 7.0):
        play.tell(WorkerHeartbeat("w0", 1, ()), at=at)
    assert play.reasons == [Reason(Why.ATTEMPT_LOST, "w0", key(0, 0))]


def test_a_block_that_cannot_be_read_is_why_both_run_again() -> None:
    play = Play("w0", "w1")
    play.mapped(reduces=1)
    reader = key(1, 0)
    lost = key(0, 1 if play.home[reader] == "w0" else 0)
    holder = play.home[lost]
    play.failed(reader, gone(lost))
    assert play.reasons == [Reason(Why.OUTPUT_UNREADABLE, holder, lost)]
    play.done(key(0, lost.partition, 1))
    assert play.reasons == [Reason(Why.INPUT_LOST, holder, lost)]


def test_a_rollback_names_the_block_that_was_lost() -> None:
    play = Play("w0", "w1")
    play.mapped(Label.INDETERMINATE)
    lost = key(0, 0 if play.home[key(1, 0)] == play.home[key(0, 1)] else 1)
    play.failed(key(1, 0), gone(lost))
    assert Reason(Why.ROLLED_BACK, key=lost) in play.reasons
    assert len(set(play.reasons)) == 1


def test_rows_that_come_out_otherwise_roll_back_too() -> None:
    play = Play("w0", "w1")
    play.mapped()
    lost = key(0, 0 if play.home[key(1, 0)] == play.home[key(0, 1)] else 1)
    play.failed(key(1, 0), gone(lost))
    again = lost._replace(attempt=1)
    play.done(again, OTHER)
    assert Reason(Why.ROLLED_BACK, key=again) in play.reasons
    assert len(set(play.reasons)) == 1


def test_an_attempt_is_called_back_and_sent_elsewhere_for_one_reason() -> None:
    play = Play("w0", settings=SchedulerSettings(first_prefetch=1))
    play.submit(single(2))
    play.tell(WorkerRegistered("w1", 1, 1), at=30.0)
    assert play.reasons == [Reason(Why.SLOT_FREE_ELSEWHERE, "w0")] * 2


def test_a_worker_that_is_full_or_leaves_gives_back_what_waits() -> None:
    for event, why in (
        (WorkerHeartbeat("w0", 1, (key(0, 0), key(0, 1)), full="disk"), Why.WORKER_FULL),
        (WorkerDraining("w0", 1), Why.WORKER_DRAINING),
    ):
        play = Play("w0", settings=SchedulerSettings(first_prefetch=1))
        play.submit(single(2))
        play.tell(event)
        assert play.reasons == [Reason(why, "w0")]
        play.tell(WorkerRegistered("w1", 1, 1))
        assert play.reasons == [Reason(why, "w0")]


def test_a_drained_worker_may_go() -> None:
    play = Play("w0", "w1")
    play.tell(WorkerDraining("w0", 1))
    assert play.reasons == [Reason(Why.DRAINED)]
    play.tell(WorkerDraining("w0", 1))
    assert play.reasons == [RESENT]
    play.tell(WorkerLeft("w0", 1))
    assert play.reasons == [Reason(Why.DRAINED)]


def test_ends_of_jobs() -> None:
    play = Play("w0")
    play.submit(single())
    play.done(key(0, 0))
    assert play.reasons == [Reason(Why.COMPLETE)]
    play = Play("w0")
    play.submit(single(2))
    play.tell(JobCancelRequested("j"))
    assert play.reasons == [Reason(Why.JOB_ENDED), Reason(Why.CANCEL_REQUESTED)]
    play = Play("w0")
    play.submit(single(sink=True))
    play.done(key(0, 0))
    play.tell(JobCommitFailed("j", TimedOut(1.0)))
    assert play.reasons == [Reason(Why.COMMIT_FAILED)]
    play = Play()
    play.submit(single())
    play.tell(TimerFired(), at=play.scheduler.wake_s)
    assert play.reasons == [Reason(Why.NO_WORKER, limit=SchedulerSettings().no_worker_grace_s)]


def test_a_restarted_master_repeats_itself() -> None:
    play = Play("w0")
    play.submit(single())
    play.tell(MasterRestarted())
    assert play.reasons == [RESENT]


def test_the_page_of_states_has_every_reason() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "states.md").read_text().splitlines()
    begin = lines.index("| reason | decides | evidence |") + 2
    listed = [line.split("`")[1] for line in takewhile(lambda line: "|" in line, lines[begin:])]
    assert listed == list(Why)
