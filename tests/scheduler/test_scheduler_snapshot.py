"""A scheduler that was told again, or loaded, is the same scheduler: for ever after."""

from __future__ import annotations

import json
from random import Random

import pytest
from tests.scheduler.play import Play, key, map_reduce, single

from minispark.blocks.meta import Receipt
from minispark.errors import OutOfMemory
from minispark.scheduler import Scheduler, snapshot
from minispark.scheduler.commands import CommitJob
from minispark.scheduler.events import (
    JobSubmitted,
    MasterRestarted,
    TaskSucceeded,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.stage import StageRun
from minispark.scheduler.state import JobRun, State
from minispark.scheduler.workers import Worker
from minispark.settings import SchedulerSettings
from minispark.testing.sim import SimOptions, World
from minispark.testing.sim.journal import SimRow
from minispark.testing.sim.master import Master


def copied(state: State) -> State:
    return snapshot.load(json.loads(json.dumps(snapshot.dump(state))))


class Witness:
    """Sees every fact that masters apply; at times a second scheduler takes over beside them."""

    def __init__(self, seed: int) -> None:
        self.doubts = Random(seed)
        self.twins: list[Scheduler] = []
        self.world = World(SimOptions(seed, without=("twin",)), observer=self.see)

    def see(self, master: Master, row: SimRow) -> None:
        if isinstance(row.fact, MasterRestarted):
            self.twins = []  # What was not durable is lost: they know too much.
        for twin in self.twins:
            assert tuple(twin.apply(row.fact, row.now)) == row.commands
        if self.doubts.random() < 0.05:
            self.twins = [Scheduler(master.scheduler.settings, copied(master.scheduler.state))]


@pytest.mark.parametrize("batch", range(2))
def test_who_is_told_again_or_loaded_decides_the_same(batch: int) -> None:
    for seed in range(1000 + batch, 1060, 2):
        observer = Witness(seed)
        observer.world.run()
        master = observer.world.master
        again = Scheduler(master.scheduler.settings)
        for row in master.state_dir.rows:
            assert tuple(again.apply(row.fact, row.now)) == row.commands, f"seed {seed}"
        plain = snapshot.dump(master.scheduler.state)
        for other in (again, *observer.twins):
            assert snapshot.dump(other.state) == plain, f"seed {seed}"
            assert other.state == master.scheduler.state, f"seed {seed}"


def test_every_moment_of_a_history_can_be_kept() -> None:
    """Not only what dumps alike, but every counter and index that is made again."""

    def see(master: Master, _: SimRow) -> None:
        assert copied(master.scheduler.state) == master.scheduler.state

    for seed in range(1100, 1106):
        World(SimOptions(seed), observer=see).run()


@pytest.mark.parametrize(
    ("record", "name"), [(Worker, "full"), (JobRun, "name"), (StageRun, "generation")]
)
def test_what_is_no_plain_value_cannot_be_forgotten(record: type, name: str) -> None:
    play = Play("w0")
    play.submit(map_reduce())
    job = play.scheduler.state.jobs["j"]
    thing = {Worker: play.scheduler.state.workers["w0"], JobRun: job, StageRun: job.ordered[0]}[
        record
    ]
    setattr(thing, name, object())
    with pytest.raises(TypeError, match=f"{name} is no plain value"):
        snapshot.dump(play.scheduler.state)


def test_heartbeats_that_change_nothing_are_not_remembered() -> None:
    # A journal that grew with every heartbeat locked its database every second.
    play = Play("w0", "w1")
    play.submit(single())
    before = snapshot.dump(play.scheduler.state)
    for second in range(100):
        assert play.scheduler.decide(WorkerHeartbeat("w0", 1, (key(0, 0),)), second) is None
        assert play.scheduler.decide(WorkerHeartbeat("w1", 1, ()), second) is None
    assert snapshot.dump(play.scheduler.state) == before


def test_a_restarted_master_says_again_what_may_not_have_been_heard() -> None:
    # It was killed between writing a launch down and sending it.
    play = Play("w0", "w1", "w2")
    play.mapped()
    play.tell(WorkerLeft("w2", 1))
    told = {play.home[k]: play.launch(k, play.home[k], key(0, 0), key(0, 1))
            for k in (key(1, 0), key(1, 1))}  # fmt: skip
    play.scheduler = Scheduler(play.scheduler.settings, copied(play.scheduler.state))
    # An hour later: nobody was silent, for nobody was listening.
    assert play.tell(MasterRestarted(), at=3600.0) == [
        told[name] for name in play.scheduler.state.workers if name in told
    ]
    assert play.scheduler.wake_s == 3610.0


def test_a_lease_that_is_said_again_is_given_time_to_arrive() -> None:
    # The first heartbeat after the restart was on its way before the worker heard of the task.
    play = Play("w0")
    play.submit(single())
    play.scheduler = Scheduler(play.scheduler.settings, copied(play.scheduler.state))
    assert play.tell(MasterRestarted(), at=60.0) == [play.launch(key(0, 0), "w0")]
    assert play.tell(WorkerHeartbeat("w0", 1, ()), at=61.0) == []
    assert play.tell(WorkerHeartbeat("w0", 1, ()), at=66.0) == [play.launch(key(0, 0, 1), "w0")]


def test_a_launch_is_not_repeated_when_its_input_is_gone() -> None:
    # It may have read it already and end well; but nobody can begin it now.
    play = Play("w0", "w1")
    play.mapped()
    left, stays = (key(1, 0), key(1, 1))
    if play.home[left] != "w0":
        left, stays = stays, left
    play.tell(WorkerLeft("w0", 1))
    play.scheduler = Scheduler(play.scheduler.settings, copied(play.scheduler.state))
    assert play.tell(MasterRestarted()) == []
    assert play.scheduler.active_attempts("w1") == (stays,)


def test_a_restarted_master_commits_again() -> None:
    play = Play("w0")
    play.submit(single(sink=True))
    assert play.done(key(0, 0)) == [CommitJob("j", (key(0, 0),))]
    play.tell(WorkerLeft("w0", 1))
    play.scheduler = Scheduler(play.scheduler.settings, copied(play.scheduler.state))
    assert play.tell(MasterRestarted()) == [CommitJob("j", (key(0, 0),))]


def test_what_a_task_remembers_of_its_failures_is_kept() -> None:
    play = Play("w0", "w1")
    play.submit(single())
    play.failed(key(0, 0), OutOfMemory(1))
    task = copied(play.scheduler.state).jobs["j"].stages[0].tasks[0]
    assert task == play.scheduler.state.jobs["j"].stages[0].tasks[0]
    assert (task.charged, task.avoid) == (1, ("w0",))


def test_where_launches_may_be_missing_attempts_are_numbered_from_further_on() -> None:
    play = Play("w0")
    play.submit(single())
    play.tell(MasterRestarted(2000))
    assert play.failed(key(0, 0), OutOfMemory(1)) == [play.launch(key(0, 0, 2000), "w0")]
    play.tell(MasterRestarted(2000))
    assert play.failed(key(0, 0, 2000), OutOfMemory(1)) == [play.launch(key(0, 0, 2001), "w0")]


def test_tens_of_thousands_of_tasks_are_kept() -> None:
    scheduler = Scheduler(SchedulerSettings())
    for number in range(8):
        scheduler.apply(WorkerRegistered(f"w{number}", 1, 4), 0.0)
    scheduler.apply(JobSubmitted(map_reduce(30_000, 8)), 0.0)
    state = scheduler.state
    job, workers = state.jobs["j"], list(state.workers.values())
    receipt = Receipt(tuple(range(8)), tuple(range(1 << 63, (1 << 63) + 8)))
    for partition in range(1_000, 30_000):
        worker = workers[partition % 8]
        lease = state.lease(job, job.stages[0], partition, worker, 1.0)
        ended = TaskSucceeded(lease.key, worker.name, 1, receipt, seconds=0.5)
        state.accept(job.stages[0], lease, ended, 1.0)
    assert snapshot.load(json.loads(json.dumps(snapshot.dump(state)))) == state
