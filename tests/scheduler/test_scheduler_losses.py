"""Blocks, leases and workers that are lost: what is made again, and what is not."""

from __future__ import annotations

from tests.scheduler.play import (
    OTHER,
    Play,
    failed,
    finished,
    gone,
    key,
    launch_keys,
    map_reduce,
    single,
)

from minispark.errors import (
    OutOfMemory,
    TaskError,
    TimedOut,
)
from minispark.plan.stages import Label
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    FinishJob,
    LaunchTask,
    ReleaseBlocks,
    ReportAccepted,
    ReportDropped,
    RequireRegistration,
    WorkerDown,
)
from minispark.scheduler.events import (
    JobCancelRequested,
    TimerFired,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.reasons import Reason, Why
from minispark.settings import SchedulerSettings


def test_a_lost_block_after_partial_consumption_is_made_again_alone() -> None:
    # Reduce 0 has read map 0's block, reduce 1 finds it gone. The stage gives the
    # same rows again, so reduce 0 keeps what it made; the receipt is the proof.
    play = Play("w0", "w1", "w2")
    play.mapped()
    play.done(key(1, 0))
    assert play.failed(key(1, 1), gone(key(0, 0))) == [play.launch(key(0, 0, 1), "w2")]
    assert play.done(key(0, 0, 1)) == [play.launch(key(1, 1, 1), "w1", key(0, 0, 1), key(0, 1))]
    assert play.done(key(1, 1, 1))[0] == finished(
        BlockRef(key(1, 0), play.home[key(1, 0)], 0), BlockRef(key(1, 1, 1), "w1", 0)
    )


def test_a_receipt_that_differs_rolls_back_all_that_read_the_first() -> None:
    # The plan called the stage repeatable and it is not.
    play = Play("w0", "w1", "w2")
    play.mapped()
    play.done(key(1, 0))
    play.failed(key(1, 1), gone(key(0, 0)))
    assert play.done(key(0, 0, 1), OTHER) == [
        play.launch(key(0, 0, 2, 1), "w1"),
        play.launch(key(0, 1, 1, 1), "w2"),
    ]
    # From here on the job runs in generation 1 of both stages.
    play.beat("w0")
    play.done(key(0, 0, 2, 1))
    launched = play.done(key(0, 1, 1, 1))
    assert [c.key for c in launched if isinstance(c, LaunchTask)] == [
        key(1, 0, 1, 1),
        key(1, 1, 1, 1),
    ]


def test_an_indeterminate_stage_rolls_back_without_waiting_for_the_receipt() -> None:
    # Reduce 0 is done, reduce 2 runs, reduce 1 finds the block gone.
    play = Play("w0", "w1", "w2")
    play.mapped(Label.INDETERMINATE, reduces=3)
    play.done(key(1, 0))
    w2 = play.home[key(1, 2)]
    assert play.failed(key(1, 1), gone(key(0, 1))) == [
        CancelTask(w2, 1, key(1, 2)),
        *(
            play.launch(k, worker)
            for k, worker in ((key(0, 0, 1, 1), "w0"), (key(0, 1, 1, 1), "w2"))
        ),
    ]
    # The success of the reduce task that was being rolled back came too late.
    assert play.done(key(1, 2)) == [ReleaseBlocks(w2, 1, (key(1, 2),))]


def test_an_indeterminate_block_that_nobody_read_is_simply_made_again() -> None:
    play = Play("w0", "w1")
    play.submit(map_reduce(2, 1, Label.INDETERMINATE))
    play.done(key(0, 0))
    assert play.tell(WorkerLeft("w0", 1)) == [WorkerDown("w0", 1)]
    assert play.done(key(0, 1)) == [play.launch(key(0, 0, 1), "w1")]
    assert launch_keys(play.done(key(0, 0, 1), OTHER)) == [key(1, 0)]


def test_two_fetch_failures_for_one_block_make_it_again_once() -> None:
    # Elsewhere each late report started the stage again.
    play = Play("w0", "w1", "w2")
    play.mapped()
    assert play.failed(key(1, 0), gone(key(0, 1))) == [play.launch(key(0, 1, 1), "w2")]
    assert play.failed(key(1, 1), gone(key(0, 1))) == []
    assert launch_keys(play.done(key(0, 1, 1))) == [key(1, 0, 1), key(1, 1, 1)]
    task = play.scheduler.state.jobs["j"].stages[1].tasks[0]
    assert task.charged == 0


def test_blocks_that_are_eaten_again_and_again_end_the_job() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=0, max_fetch_failures=3))
    play.submit(map_reduce(1, 1))
    for attempt in range(3):
        play.done(key(0, 0, attempt))
        assert launch_keys(play.failed(key(1, 0, attempt), gone(key(0, 0, attempt)))) == [
            key(0, 0, attempt + 1)
        ]
    play.done(key(0, 0, 3))
    finish = play.failed(key(1, 0, 3), gone(key(0, 0, 3)))[0]
    assert finish == failed(key(1, 0, 3), gone(key(0, 0, 3)))


def test_rows_that_never_settle_end_the_job() -> None:
    settings = SchedulerSettings(max_prefetch=0, max_stage_generations=2)
    play = Play("w0", slots=2, settings=settings)
    play.submit(map_reduce(1, 2, Label.INDETERMINATE))
    play.done(key(0, 0))
    play.failed(key(1, 0), gone(key(0, 0)))
    play.done(key(0, 0, 1, 1))
    commands = play.failed(key(1, 0, 1, 1), gone(key(0, 0, 1, 1)))
    finish = next(c for c in commands if isinstance(c, FinishJob))
    assert isinstance(finish.failure, TaskError)
    assert finish.failure.error.code == "MS-222"


def test_a_success_that_comes_twice_counts_once() -> None:
    play = Play("w0")
    play.submit(single(2))
    assert play.done(key(0, 0)) == [play.launch(key(0, 1), "w0")]
    # The block is the accepted one: it must not be released.
    assert play.done(key(0, 0)) == []
    assert play.failed(key(0, 0), OutOfMemory(1)) == []


def test_each_report_is_accepted_or_dropped_for_a_reason() -> None:
    play = Play("w0", "w1")
    verdicts: list[object] = []

    def note() -> None:
        verdicts.append(play.verdict)

    play.submit(map_reduce(2, 1))
    play.done(key(0, 0))
    note()
    play.done(key(0, 0))
    note()
    play.tell(WorkerRegistered("w0", 2, 1))
    note()
    play.failed(key(0, 0), TimedOut(1.0))
    note()
    play.failed(key(0, 1), TimedOut(1.0))
    note()
    play.done(key(0, 1))
    note()
    play.tell(JobCancelRequested("j"))
    play.done(key(0, 1))
    note()
    assert verdicts == [
        ReportAccepted(),
        ReportDropped(Reason(Why.REPEATED)),
        None,
        ReportDropped(Reason(Why.NOT_REGISTERED)),
        ReportAccepted(),
        ReportDropped(Reason(Why.NOT_LEASED)),
        ReportDropped(Reason(Why.JOB_ENDED)),
    ]


def test_a_worker_that_is_restarted_under_its_name_begins_a_new_life() -> None:
    play = Play("w0", "w1")
    play.submit(map_reduce(2, 1))
    play.done(key(0, 0))
    # w0's block is gone with its process; w1's attempt goes on.
    assert play.tell(WorkerRegistered("w0", 2, 1)) == [
        ReleaseBlocks("w0", 2, (key(0, 0),)),
        play.launch(key(0, 0, 1), "w0", epoch=2),
    ]
    # What the old process still says is not heard.
    assert play.done(key(0, 0)) == [RequireRegistration("w0", 1)]
    assert play.tell(WorkerRegistered("w0", 1, 1)) == [RequireRegistration("w0", 1)]
    assert play.beat("w9") == [RequireRegistration("w9", 1)]
    assert play.done(key(0, 1)) == []
    assert launch_keys(play.done(key(0, 0, 1), epoch=2)) == [key(1, 0)]


def test_a_worker_that_dies_between_map_and_reduce_loses_only_what_is_needed() -> None:
    play = Play("w0", "w1")
    play.mapped(reduces=4)
    play.done(key(1, 0))
    play.tell(WorkerLeft("w0", 1))
    # Reduce 0's result and map 0's block were on w0. Only these, and what had not run yet.
    stages = play.scheduler.state.jobs["j"].stages
    assert [type(t.state).__name__ for t in stages[0].tasks] == ["Ready", "Done"]
    assert [type(t.state).__name__ for t in stages[1].tasks] == [
        "Waiting",
        "Leased",
        "Waiting",
        "Waiting",
    ]
    assert play.done(key(1, 1)) == [play.launch(key(0, 0, 1), "w1")]


def test_output_that_nobody_needs_any_more_is_not_made_again() -> None:
    play = Play("w0", "w1")
    play.submit(map_reduce(2, 1))
    play.done(key(0, 0))
    (launch,) = play.done(key(0, 1))
    assert isinstance(launch, LaunchTask)
    other = "w1" if launch.worker == "w0" else "w0"
    assert play.tell(WorkerLeft(other, 1)) == [WorkerDown(other, 1)]
    assert play.done(key(1, 0))[0] == finished(BlockRef(key(1, 0), launch.worker, 0))


def test_silence_takes_a_worker_down_and_its_work_elsewhere() -> None:
    play = Play("w0", "w1", slots=2)
    play.submit(single(2))
    play.now = 9.0
    assert play.beat("w1", key(0, 1)) == []
    assert play.scheduler.wake_s == 10.0
    assert play.tell(TimerFired(), at=10.0) == [
        WorkerDown("w0", 1),
        play.launch(key(0, 0, 1), "w1"),
    ]
    assert play.scheduler.wake_s == 19.0
    # It was only slow: its word does not count, and it is told why.
    assert play.done(key(0, 0)) == [RequireRegistration("w0", 1)]


def test_a_lease_that_never_arrived_is_given_again_without_charge() -> None:
    # The scheduler says "processing", the worker knows nothing.
    play = Play("w0")
    play.submit(single())
    play.now = 4.0
    assert play.beat("w0") == []  # It may still be on its way.
    play.now = 6.0
    assert play.beat("w0") == [play.launch(key(0, 0, 1), "w0")]
    task = play.scheduler.state.jobs["j"].stages[0].tasks[0]
    assert (task.charged, task.losses) == (0, 1)
    # The reply was only late: the worker now runs an attempt that nobody wants.
    assert play.beat("w0", key(0, 0), key(0, 0, 1)) == [CancelTask("w0", 1, key(0, 0))]


def test_a_heartbeat_that_was_overtaken_by_a_report_cancels_nothing() -> None:
    play = Play("w0")
    play.submit(single(2))
    play.done(key(0, 0))
    assert play.beat("w0", key(0, 0), key(0, 1)) == []


def test_a_worker_whose_block_cannot_be_read_is_left_alone_until_it_speaks() -> None:
    # It is dead, and nobody will know for 10 s. Without doubt every consumer would find its
    # blocks gone one by one, and the lost ones would be made again on the dead worker.
    play = Play("w0", "w1")
    play.submit(map_reduce(3, 2))
    assert play.done(key(0, 0)) == [play.launch(key(0, 2), "w0")]
    play.done(key(0, 2))
    play.done(key(0, 1))
    reader, other = sorted((key(1, 0), key(1, 1)), key=lambda k: play.home[k] != "w1")
    assert play.home[reader] == "w1"
    assert play.failed(reader, gone(key(0, 0))) == [play.launch(key(0, 0, 1), "w1")]
    # The lost block is there again, and the reader still needs another one of w0.
    assert play.done(key(0, 0, 1)) == []
    again = key(1, reader.partition, 1)
    assert play.beat("w0", other) == [play.launch(again, "w1", key(0, 0, 1), key(0, 1), key(0, 2))]


def test_doubt_ends_with_the_worker() -> None:
    play = Play("w0", "w1")
    play.submit(map_reduce(3, 2))
    play.done(key(0, 0))
    play.done(key(0, 2))
    play.done(key(0, 1))
    reader = next(k for k in (key(1, 0), key(1, 1)) if play.home[k] == "w1")
    play.now = 9.0
    play.failed(reader, gone(key(0, 0)))
    play.done(key(0, 0, 1))
    down, launch = play.tell(TimerFired(), at=10.0)
    assert down == WorkerDown("w0", 1)
    assert launch == play.launch(key(0, 2, 1), "w1")
