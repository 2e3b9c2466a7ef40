"""Workers that leave on purpose: nothing is made twice, nothing is lost, nobody waits for ever."""

from __future__ import annotations

from tests.scheduler.play import RECEIPT, Play, finished, gone, key, map_reduce, released, single

from minispark.ids import TaskKey
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    DismissWorker,
    FinishJob,
    LaunchTask,
    MoveBlocks,
    ReleaseBlocks,
    RequireRegistration,
    WorkerDown,
)
from minispark.scheduler.events import (
    BlocksMoved,
    HeartbeatDiff,
    JobReleased,
    MasterRestarted,
    Timeouts,
    TimerFired,
    WorkerDraining,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.settings import SchedulerSettings


def drain(play: Play, worker: str) -> list[object]:
    return list(play.tell(WorkerDraining(worker, 1)))


def move(worker: str, *keys: TaskKey, source: str = "w0") -> MoveBlocks:
    return MoveBlocks(worker, 1, tuple(BlockRef(k, source, 0) for k in keys))


def statuses(play: Play) -> dict[str, str]:
    return {worker.worker: worker.status for worker in play.scheduler.worker_status()}


def beat_all(play: Play, *workers: str) -> None:
    for worker in workers:
        held = play.scheduler.active_attempts(worker)
        play.tell(WorkerHeartbeat(worker, 1, held))


def test_a_worker_without_work_may_leave_at_once() -> None:
    play = Play("w0", "w1")
    assert drain(play, "w0") == [DismissWorker("w0", 1)]
    assert statuses(play) == {"w0": "DRAINING", "w1": "UP"}
    assert play.tell(WorkerLeft("w0", 1)) == [WorkerDown("w0", 1)]
    assert statuses(play) == {"w0": "DOWN", "w1": "UP"}


def test_what_waits_on_a_leaver_goes_elsewhere_and_what_runs_may_end() -> None:
    play = Play("w0", "w1", settings=SchedulerSettings(max_prefetch=1))
    play.submit(single(4))
    # w0 runs task 0 and has task 2 in its line; w1 is as full as it may be.
    assert drain(play, "w0") == [CancelTask("w0", 1, key(0, 2))]
    assert play.done(key(0, 1)) == [play.launch(key(0, 2, 1), "w1")]
    # Its result must not go with it.
    assert play.done(key(0, 0)) == [move("w1", key(0, 0))]
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == [DismissWorker("w0", 1)]
    play.done(key(0, 3))
    assert play.done(key(0, 2, 1))[0] == finished(
        BlockRef(key(0, 0), "w1", 0),
        BlockRef(key(0, 1), "w1", 0),
        BlockRef(key(0, 2, 1), "w1", 0),
        BlockRef(key(0, 3), "w1", 0),
    )
    # Taken back is nobody's fault.
    play.tell(JobReleased("j"))
    assert play.scheduler.is_empty_of("j")


def test_results_of_jobs_that_ended_are_brought_elsewhere_evenly() -> None:
    play = Play("w0", slots=4)
    play.submit(single(4))
    for partition in range(4):
        last = play.done(key(0, partition))
    assert isinstance(last[0], FinishJob)
    for worker in ("w1", "w2"):
        play.tell(WorkerRegistered(worker, 1, 1))
    assert drain(play, "w0") == [
        move("w1", key(0, 0), key(0, 2)),
        move("w2", key(0, 1), key(0, 3)),
    ]
    assert play.tell(BlocksMoved("w2", 1, (key(0, 1), key(0, 3)))) == []
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0), key(0, 2)))) == [DismissWorker("w0", 1)]
    # The ledger knows where they are: whoever has some is told when they may go.
    play.tell(WorkerLeft("w0", 1))
    assert play.tell(JobReleased("j")) == released("w2", "w1")


def test_only_what_somebody_still_reads_is_moved() -> None:
    # Map 0 is on w0, and so is reduce 0. All reduce tasks are done but one, which has begun.
    play = Play("w0", "w1")
    play.mapped()
    on_w0 = next(k for k in (key(1, 0), key(1, 1)) if play.home[k] == "w0")
    other = key(1, 1 - on_w0.partition)
    play.done(on_w0)
    # The map's block is still read by an attempt on w1, and would be by its next one.
    play.now = 1.0
    assert drain(play, "w0") == [move("w1", key(0, 0), on_w0)]
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0), on_w0))) == []
    # Not dismissed: the attempt on w1 was sent to w0 for its input.
    assert play.done(other) == [
        finished(BlockRef(key(1, 0), "w1", 0), BlockRef(key(1, 1), "w1", 0)),
        *released("w0"),
        ReleaseBlocks("w1", 1, (key(0, 1), key(0, 0))),
        DismissWorker("w0", 1),
    ]


def test_an_attempt_that_asks_at_the_old_place_asks_again_at_the_new() -> None:
    # It was sent before the move and read after the worker had gone. The block is not lost.
    play = Play("w0", "w1", "w2")
    play.mapped()
    for k in (key(1, 0), key(1, 1)):
        if play.home[k] == "w0":
            play.done(k)
    play.now = 1.0
    drain(play, "w0")
    play.tell(BlocksMoved("w2", 1, (key(0, 0),)))
    reader = next(k for k in (key(1, 0), key(1, 1)) if play.home[k] != "w0")
    commands = play.failed(reader, gone(key(0, 0)))
    again = TaskKey("j", 1, 0, reader.partition, 1)
    (launch,) = [c for c in commands if isinstance(c, LaunchTask)]
    assert launch.key == again
    assert BlockRef(key(0, 0), "w2", reader.partition) in launch.inputs[0].blocks
    assert play.scheduler.state.jobs["j"].fetch_failures == 1


def test_a_leaver_whose_time_is_over_goes_and_its_work_begins_elsewhere() -> None:
    play = Play("w0", "w1")
    play.submit(single(2))
    play.done(key(0, 1))
    assert drain(play, "w0") == []
    play.now = 29.0
    beat_all(play, "w0", "w1")
    assert play.scheduler.wake_s <= 30.0
    assert play.tell(TimerFired(), at=30.0) == [
        CancelTask("w0", 1, key(0, 0)),
        play.launch(key(0, 0, 1), "w1"),
        DismissWorker("w0", 1),
    ]
    task = play.scheduler.state.jobs["j"].stages[0].tasks[0]
    assert (task.charged, task.losses) == (0, 0)


def test_without_another_worker_a_leaver_ends_what_it_runs_and_the_job_waits() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=1))
    play.submit(single(2))
    assert drain(play, "w0") == [CancelTask("w0", 1, key(0, 1))]
    assert play.done(key(0, 0)) == []
    play.now = 29.0
    beat_all(play, "w0")
    # Nobody is there to take the result; it will have to be made again.
    assert play.tell(TimerFired(), at=30.0) == [DismissWorker("w0", 1)]
    assert play.tell(WorkerLeft("w0", 1)) == [WorkerDown("w0", 1)]
    launched = play.tell(WorkerRegistered("w1", 1, 2), at=59.0)
    assert [c.key for c in launched if isinstance(c, LaunchTask)] == [key(0, 0, 1), key(0, 1, 1)]


def test_a_worker_that_comes_takes_what_nobody_could() -> None:
    play = Play("w0")
    play.submit(single())
    play.done(key(0, 0))
    assert drain(play, "w0") == []
    assert play.tell(WorkerRegistered("w1", 1, 1)) == [move("w1", key(0, 0))]


def test_a_full_worker_takes_nothing_until_it_has_room() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    play.done(key(0, 0))
    play.tell(HeartbeatDiff("w1", 1, full="disk"))
    assert drain(play, "w0") == []
    assert play.tell(HeartbeatDiff("w1", 1)) == [move("w1", key(0, 0))]


def test_a_target_that_is_lost_is_replaced() -> None:
    play = Play("w0", "w1", "w2")
    play.submit(single())
    play.done(key(0, 0))
    assert drain(play, "w0") == [move("w1", key(0, 0))]
    assert play.tell(WorkerLeft("w1", 1)) == [
        WorkerDown("w1", 1),
        move("w2", key(0, 0)),
    ]
    # Its word that it has the block comes too late: the worker is not known any more.
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == [RequireRegistration("w1", 1)]


def test_a_move_that_never_answers_is_given_to_another() -> None:
    play = Play("w0", "w1", "w2")
    play.submit(single())
    play.done(key(0, 0))
    assert drain(play, "w0") == [move("w1", key(0, 0))]
    play.now = 9.0
    beat_all(play, "w0", "w1", "w2")
    assert play.tell(TimerFired(), at=10.0) == [move("w2", key(0, 0))]
    # Whoever is first has it; the other copy is nobody's.
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == [DismissWorker("w0", 1)]
    assert play.tell(BlocksMoved("w2", 1, (key(0, 0),))) == [ReleaseBlocks("w2", 1, (key(0, 0),))]
    # Said twice, it changes nothing.
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == []


def test_two_that_leave_do_not_give_to_each_other() -> None:
    # w1 had been told to fetch when it was to leave itself; its word came all the same.
    play = Play("w0", "w1")
    play.submit(single())
    play.done(key(0, 0))
    assert drain(play, "w0") == [move("w1", key(0, 0))]
    assert drain(play, "w1") == [DismissWorker("w1", 1)]
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == [ReleaseBlocks("w1", 1, (key(0, 0),))]
    assert play.tell(WorkerRegistered("w2", 1, 1)) == [move("w2", key(0, 0))]
    assert play.tell(BlocksMoved("w2", 1, (key(0, 0),))) == [DismissWorker("w0", 1)]


def test_blocks_are_fetched_a_few_at_a_time() -> None:
    settings = SchedulerSettings(max_prefetch=0, max_moves=2)
    play = Play("w0", slots=3, settings=settings)
    play.submit(single(3))
    for partition in range(3):
        play.done(key(0, partition))
    play.tell(WorkerRegistered("w1", 1, 1))
    assert drain(play, "w0") == [move("w1", key(0, 0), key(0, 1))]
    # The first of them is there: the next may come.
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == [move("w1", key(0, 2))]
    assert play.tell(BlocksMoved("w1", 1, (key(0, 1), key(0, 2)))) == [DismissWorker("w0", 1)]


def test_a_leaver_that_dies_is_a_worker_that_dies() -> None:
    play = Play("w0", "w1")
    play.submit(map_reduce(1, 2))
    play.done(key(0, 0))
    reader = key(1, 1)
    assert play.home[reader] == "w1"
    drain(play, "w0")
    assert play.tell(WorkerLeft("w0", 1)) == [WorkerDown("w0", 1)]
    # w1 has the copy and says so, but the block was written off: it is not needed.
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == [ReleaseBlocks("w1", 1, (key(0, 0),))]
    assert play.failed(reader, gone(key(0, 0)))[0] == play.launch(key(0, 0, 1), "w1")


def test_the_end_of_a_job_ends_the_moves_of_its_blocks() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    play.done(key(0, 0))
    assert drain(play, "w0") == [move("w1", key(0, 0))]
    assert play.tell(JobReleased("j")) == [*released("w0"), DismissWorker("w0", 1)]
    # It was on its way: w1 must not keep it.
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == [ReleaseBlocks("w1", 1, (key(0, 0),))]
    assert play.scheduler.is_empty_of("j")


def test_a_block_on_its_way_is_not_taken_for_one_that_nobody_wants() -> None:
    # The target names a job of which the ledger does not know it to have anything.
    play = Play("w0", "w1")
    play.submit(single())
    play.done(key(0, 0))
    drain(play, "w0")
    for second in range(0, 10, 2):
        beat = WorkerHeartbeat("w1", 1, (), held=("j",))
        assert play.scheduler.decide(beat, float(second)) is None


def test_a_dismissal_that_was_lost_is_repeated() -> None:
    play = Play("w0", "w1")
    assert drain(play, "w0") == [DismissWorker("w0", 1)]
    # It asks again, for it heard nothing.
    assert drain(play, "w0") == [DismissWorker("w0", 1)]
    play.now = 9.0
    beat_all(play, "w0", "w1")
    assert play.tell(TimerFired(), at=10.0) == [DismissWorker("w0", 1)]


def test_leaving_is_not_forgotten_by_a_new_master() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    play.done(key(0, 0))
    assert drain(play, "w0") == [move("w1", key(0, 0))]
    assert play.tell(MasterRestarted()) == [move("w1", key(0, 0))]
    assert play.tell(BlocksMoved("w1", 1, (key(0, 0),))) == [DismissWorker("w0", 1)]
    assert play.tell(MasterRestarted()) == [DismissWorker("w0", 1)]


def test_a_doubled_registration_does_not_keep_a_leaver() -> None:
    play = Play("w0", "w1")
    drain(play, "w0")
    assert play.tell(WorkerRegistered("w0", 1, 1)) == []
    assert statuses(play)["w0"] == "DRAINING"
    # A new life of it stays.
    play.tell(WorkerRegistered("w0", 2, 1))
    assert statuses(play)["w0"] == "UP"


def test_a_leaver_that_falls_silent_is_down() -> None:
    play = Play("w0", "w1")
    play.submit(single(2))
    drain(play, "w0")
    play.now = 9.0
    beat_all(play, "w1")
    assert play.tell(Timeouts((("w0", 1),)), at=10.0)[0] == WorkerDown("w0", 1)
    assert play.done(key(0, 1)) == [play.launch(key(0, 0, 1), "w1")]
    assert play.done(key(0, 0, 1), RECEIPT)[0] == finished(
        BlockRef(key(0, 0, 1), "w1", 0), BlockRef(key(0, 1), "w1", 0)
    )
