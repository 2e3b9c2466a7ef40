"""Who has blocks of a job is told when nobody needs them: on time, or when he is there again."""

from __future__ import annotations

from tests.scheduler.play import RECEIPT, Play, key, map_reduce, released, single

from minispark.errors import Cancelled, TaskError
from minispark.ids import TaskKey
from minispark.scheduler.commands import (
    CancelTask,
    FinishJob,
    JobStatus,
    ReleaseBlocks,
    ReleaseJob,
    WorkerDown,
)
from minispark.scheduler.events import (
    HeartbeatDiff,
    JobCancelRequested,
    JobReleased,
    TaskSucceeded,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.settings import SchedulerSettings


def held(play: Play, *jobs: str, at: float, worker: str = "w0", epoch: int = 1) -> list[object]:
    return list(play.tell(WorkerHeartbeat(worker, epoch, (), jobs), at=at))


def test_a_worker_without_a_result_lets_the_whole_job_go() -> None:
    # Also what it wrote for attempts that were never accepted.
    play = Play("w0", "w1")
    play.submit(map_reduce(2, 1))
    play.done(key(0, 0))
    play.done(key(0, 1))
    result = play.home[key(1, 0)]
    other = "w1" if result == "w0" else "w0"
    commands = play.done(key(1, 0))
    assert isinstance(commands[0], FinishJob)
    (whole,) = [c for c in commands if isinstance(c, ReleaseJob)]
    (single_keys,) = [c for c in commands if isinstance(c, ReleaseBlocks)]
    assert (whole.worker, single_keys.worker) == (other, result)
    assert play.tell(JobReleased("j")) == released(result)


def test_a_worker_that_was_away_when_a_job_ended_is_told_when_it_names_it() -> None:
    # Elsewhere its disk filled up with the blocks of jobs that nobody remembered.
    play = Play("w0", "w1")
    play.submit(map_reduce(2, 1))
    play.done(key(0, 0))
    assert play.tell(WorkerLeft("w0", 1))[0] == WorkerDown("w0", 1)
    assert play.tell(JobCancelRequested("j")) == [
        CancelTask("w1", 1, key(0, 1)),
        FinishJob("j", JobStatus.CANCELLED, Cancelled()),
        *released("w1"),
    ]
    play.tell(WorkerRegistered("w0", 2, 1))
    assert held(play, "j", at=1.0, epoch=2) == []  # It may just not have heard.
    assert held(play, "j", at=7.0, epoch=2) == released("w0", epoch=2)
    # Should it not hear that either, it is told again; not at every heartbeat.
    assert held(play, "j", at=9.0, epoch=2) == []
    assert held(play, "j", at=13.0, epoch=2) == released("w0", epoch=2)
    play.tell(JobReleased("j"))
    assert play.scheduler.is_empty_of("j")


def test_a_worker_with_results_of_a_job_may_name_it_for_ever() -> None:
    play = Play("w0")
    play.submit(single())
    play.done(key(0, 0))
    for second in range(0, 100, 2):
        assert held(play, "j", at=float(second)) == []
    assert play.tell(JobReleased("j")) == released("w0")
    assert held(play, "j", at=100.0) == []
    assert held(play, "j", at=106.0) == released("w0")


def test_a_job_that_runs_is_not_forgotten_where_it_has_nothing() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    for second in range(0, 20, 2):
        beat = WorkerHeartbeat("w1", 1, (), ("j",))
        assert play.scheduler.decide(beat, float(second)) is None


def test_what_a_heartbeat_changes_is_all_that_is_kept_of_it() -> None:
    play = Play("w0")
    play.submit(single())
    decide = play.scheduler.decide
    assert decide(WorkerHeartbeat("w0", 1, (key(0, 0),)), 1.0) is None
    assert decide(WorkerHeartbeat("w0", 1, (key(0, 0), key(7, 7))), 1.0) == HeartbeatDiff(
        "w0", 1, unwanted=(key(7, 7),)
    )
    assert decide(WorkerHeartbeat("w0", 1, (), full="disk"), 6.5) == HeartbeatDiff(
        "w0", 1, lost=(key(0, 0),), full="disk"
    )
    # Of a worker that is not known: that it spoke, so that it is told.
    assert decide(WorkerHeartbeat("w9", 1, ()), 7.0) == HeartbeatDiff("w9", 1)


def test_workers_that_never_come_back_are_forgotten_in_the_end() -> None:
    play = Play(settings=SchedulerSettings(max_prefetch=0, max_down_workers=2))
    play.submit(single(6, job="long"))
    for number in range(6):
        name = f"w{number}"
        play.tell(WorkerRegistered(name, 1, 1))
        if number == 0:
            # What it has may count again when it is back.
            play.tell(TaskSucceeded(TaskKey("long", 0, 0, 0, 0), name, 1, RECEIPT))
        play.tell(WorkerLeft(name, 1))
    known = [worker.worker for worker in play.scheduler.worker_status()]
    assert known == ["w0", "w3", "w4", "w5"]
    play.tell(JobCancelRequested("long"))
    play.tell(JobReleased("long"))
    assert play.scheduler.is_empty_of("long")


def test_a_task_that_kills_its_workers_says_so_and_leaves_nothing() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    for number in range(10):
        worker = play.home[key(0, 0, number)]
        epoch = play.scheduler.state.workers[worker].epoch
        last = play.tell(WorkerLeft(worker, epoch))
        if number < 9:
            play.tell(WorkerRegistered(worker, epoch + 1, 1))
    finish = last[1]
    assert isinstance(finish, FinishJob)
    assert isinstance(finish.failure, TaskError)
    assert finish.key == key(0, 0, 9)
    assert finish.failure.error.code == "MS-224"
    play.tell(JobReleased("j"))
    assert play.scheduler.is_empty_of("j")
