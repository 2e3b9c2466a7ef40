"""Seeded histories of a bad world. A failure prints the command that makes it again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from minispark.ids import TaskKey
from minispark.journal.decisions import decode_decisions, encode_command
from minispark.scheduler.commands import (
    CancelTask,
    DismissWorker,
    FinishJob,
    JobStatus,
    LaunchTask,
    WorkerDown,
)
from minispark.scheduler.reasons import Why
from minispark.testing.sim import SimOptions, SimulationError, World
from minispark.testing.sim.batch import simulate
from minispark.testing.sim.blocks import Block, make_block
from minispark.testing.sim.faults import KINDS
from minispark.testing.sim.journal import SimRow
from minispark.testing.sim.master import Master
from minispark.testing.sim.records import Records
from minispark.testing.sim.world import run

HISTORIES = int(os.environ.get("MINISPARK_TEST_HISTORIES", "1000"))
"""Few, for every run; `make simulate` runs many more."""
BATCHES = 4
WITH_REASON = LaunchTask | CancelTask | WorkerDown | FinishJob | DismissWorker


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_history_ends_well(batch: int) -> None:
    tally = simulate(batch * HISTORIES // BATCHES, HISTORIES // BATCHES)
    for finding in tally.findings:
        pytest.fail(f"{finding.options.command}\n{finding.reason}\n{finding.story}")
    assert tally.histories == HISTORIES // BATCHES
    # Bad luck may end a job, but a scheduler that gives up easily would pass all other checks.
    assert tally.ends[JobStatus.SUCCEEDED] > 2 * tally.ends[JobStatus.FAILED]


SIGNS = (
    "generation=1",
    "fetch_failed",
    "worker_down",
    "require_registration",
    "commit_job",
    "release_blocks",
    "release_job",
    "master 2: MasterRestarted",
    "move_blocks",
    "blocks_moved",
    "dismiss_worker",
    "cancel_task",
    "full='disk'",
    "CachedOutput",
    "stranded=('",
)
STANDINGS = ("UP", "DOWN", "DRAINING", "EXCLUDED")


def test_histories_see_what_they_are_there_for() -> None:
    """Every kind of fault occurs, and so do its expected effects."""
    missing = {*KINDS, *SIGNS, *STANDINGS}

    def see(master: Master, _: SimRow) -> None:
        for worker in master.scheduler.worker_status():
            missing.discard("EXCLUDED" if worker.excluded else worker.status)

    # From here an exclusion, which is the rarest of all, comes soon.
    for seed in range(250, 1250):
        world = World(SimOptions(seed), observer=see)
        world.run()
        missing.difference_update(world.faults.counts)
        story = world.story() if missing.intersection(SIGNS) else ""
        missing.difference_update([sign for sign in SIGNS if sign in story])
        if not missing:
            break
    assert not missing


def test_readers_that_raise_change_no_history() -> None:
    """An exception of a reader changes no event, command or job."""
    raised = 0
    for seed in range(20):
        chance = random.Random(seed)

        def read(_master: Master, row: SimRow) -> None:
            nonlocal raised
            if chance.random() < 0.3:  # noqa: B023
                raised += 1
                raise KeyError(row.fact.kind)

        assert World(SimOptions(seed), reader=read).run() == run(seed)
    assert raised > 150


def test_what_is_shown_live_is_what_the_journal_makes() -> None:
    """After each history: records kept row by row, and folded from the journal, are equal."""
    restarted = ended = 0
    for seed in range(HISTORIES // 10):
        kept: dict[Master, Records] = {}

        def read(master: Master, row: SimRow) -> None:
            if master not in kept:  # noqa: B023
                (at,) = [n for n, one in enumerate(master.state_dir.rows) if one is row]
                kept[master] = Records(master.state_dir.rows[:at])  # noqa: B023
            kept[master].read(row)  # noqa: B023

        world = World(SimOptions(seed), reader=read)
        world.run()
        live, folded = kept[world.master], Records(world.master.state_dir.rows)
        assert live.shown() == folded.shown(), f"seed {seed}"
        ended += sum(record.ended for record in live.jobs.values())
        restarted += len(kept) > 1
    assert ended > HISTORIES // 10
    assert restarted > HISTORIES // 100


def test_in_peace_every_job_succeeds() -> None:
    for seed in range(40):
        world = World(SimOptions(seed, without=tuple(KINDS)))
        ends = {status for job, status in world.run().ends if job not in world.truth.cancelled}
        assert ends <= {JobStatus.SUCCEEDED}
        assert not world.faults.counts


def test_the_same_seed_is_the_same_history() -> None:
    """Under two hash seeds: no decision may hang on the order of a set."""
    command = [sys.executable, "-m", "minispark", "simulate", "--histories", "30", "--jobs", "1"]
    digests = {
        json.loads(
            subprocess.run(
                [*command, "--json"],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )["digest"]
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1
    assert digests == {simulate(0, 30).digest}


def test_several_processes_live_the_same_histories() -> None:
    assert simulate(0, 60, processes=2).digest == simulate(0, 60).digest


def test_what_is_left_out_does_not_happen() -> None:
    for seed in range(30):
        world = World(
            SimOptions(seed, jobs=(0,), workers=(0,), without=("lost", "crash"), until_s=20)
        )
        world.run()
        assert world.worker_numbers == (0,)
        assert list(world.truth.ended) == list(world.jobs)
        assert not {"lost", "crash"} & set(world.faults.counts)


def test_an_answer_of_two_versions_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # The proof of the proof: a world whose blocks forget that they were made anew.
    world = World(SimOptions(3, without=tuple(KINDS)))
    original = world.truth.wrote

    def wrote(block: Block, worker: str) -> None:
        original(block, worker)
        block.made_from[0, 0] = (world.truth.salt(), 0)

    monkeypatch.setattr(world.truth, "wrote", wrote)
    with pytest.raises(SimulationError, match=r"two versions|not made of|had to read"):
        world.run()


def test_versions_are_the_same_in_every_process() -> None:
    first = make_block(TaskKey("j", 0, 0, 0, 0), [], 0)
    assert make_block(TaskKey("j", 1, 0, 2, 0), [(first, 0)], 7).version == -7417597105039553874


def test_run_is_the_history_of_a_seed() -> None:
    assert run(5).digest == World(SimOptions(5)).run().digest


def test_every_decision_says_why_and_the_journal_keeps_it() -> None:
    """A reason is one of the history that was written: its attempt was launched before."""
    seen: set[Why] = set()
    launched: set[TaskKey] = set()

    def see(_master: Master, row: SimRow) -> None:
        text = json.dumps([encode_command(command) for command in row.commands])
        for kept, command in zip(decode_decisions(text), row.commands, strict=True):
            if not isinstance(command, WITH_REASON):
                continue
            assert isinstance(kept, WITH_REASON)
            assert kept.reason == command.reason
            reason = command.reason
            assert reason is not None
            seen.add(reason.why)
            if isinstance(command, LaunchTask):
                assert (reason.why is Why.FIRST) <= (command.key.attempt % 1_000 == 0)
                assert isinstance(kept, LaunchTask)
                assert kept.speculative == command.speculative
                if reason.why in (Why.FAILED, Why.ATTEMPT_LOST, Why.WORKER_DOWN):
                    assert reason.key is not None
                    assert reason.key._replace(attempt=0) == command.key._replace(attempt=0)
                    assert reason.key in launched
                launched.add(command.key)

    for seed in range(40):
        launched.clear()
        World(SimOptions(seed, without=("twin",)), observer=see).run()
    assert len(seen) > 15, seen
