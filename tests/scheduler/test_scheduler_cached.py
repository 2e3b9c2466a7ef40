"""Jobs that begin with blocks that workers have kept from earlier ones."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.scheduler.play import OTHER, RECEIPT, Play, gone, key, map_reduce, single

from minispark.ids import TaskKey
from minispark.plan.stages import Label
from minispark.scheduler import snapshot
from minispark.scheduler.commands import (
    BlockRef,
    Command,
    FinishJob,
    JobStatus,
    LaunchTask,
    ReleaseBlocks,
)
from minispark.scheduler.events import JobSubmitted, WorkerLeft, WorkerRegistered
from minispark.scheduler.spec import CachedOutput, JobSpec
from minispark.settings import SchedulerSettings


def with_found(spec: JobSpec, **on: str) -> JobSpec:
    """Let stage 0 be there: ``p0="w0"`` is its partition 0 on the worker w0."""
    found = (CachedOutput(0, int(p[1:]), worker, RECEIPT) for p, worker in on.items())
    return replace(spec, found=tuple(found))


def launched(commands: list[Command]) -> list[tuple[TaskKey, str]]:
    return [(c.key, c.worker) for c in commands if isinstance(c, LaunchTask)]


def test_what_was_found_is_not_made_again_but_read() -> None:
    play = Play("w0", "w1")
    first, second = play.submit(with_found(map_reduce(), p0="w1", p1="w0"))
    assert isinstance(first, LaunchTask)
    assert isinstance(second, LaunchTask)
    assert {first.key, second.key} == {key(1, 0), key(1, 1)}
    assert first.inputs[0].blocks == (
        BlockRef(key(0, 0), "w1", 0),
        BlockRef(key(0, 1), "w0", 0),
    )
    play.done(key(1, 0))
    finish = play.done(key(1, 1))[0]
    assert isinstance(finish, FinishJob)
    assert finish.status is JobStatus.SUCCEEDED


def test_of_what_was_found_in_part_the_rest_is_made() -> None:
    play = Play("w0", "w1")
    assert launched(play.submit(with_found(map_reduce(3), p1="w0"))) == [
        (key(0, 0), "w0"),
        (key(0, 2), "w1"),
    ]


def test_a_task_goes_to_where_its_input_was_found() -> None:
    spec = with_found(map_reduce(1, 1), p0="w1")
    assert launched(Play("w0", "w1").submit(spec)) == [(key(1, 0), "w1")]


def test_a_found_block_that_is_gone_is_made_again_and_charges_nobody() -> None:
    # Ten such losses in a job that may have none: a cache drops what it likes.
    play = Play("w0", settings=SchedulerSettings(max_prefetch=0, max_fetch_failures=0))
    play.submit(with_found(map_reduce(10, 1), **{f"p{p}": "w0" for p in range(10)}))
    for lost in range(10):
        assert launched(play.failed(key(1, 0, lost), gone(key(0, lost)))) == [
            (key(0, lost, 1), "w0")
        ]
        assert launched(play.done(key(0, lost, 1))) == [(key(1, 0, lost + 1), "w0")]
    assert isinstance(play.done(key(1, 0, 10))[0], FinishJob)


def test_one_that_is_made_again_counts_like_any_other() -> None:
    play = Play("w0", settings=SchedulerSettings(max_prefetch=0, max_fetch_failures=0))
    play.submit(with_found(map_reduce(1, 1), p0="w0"))
    play.failed(key(1, 0), gone(key(0, 0)))
    play.done(key(0, 0, 1))
    finish = play.failed(key(1, 0, 1), gone(key(0, 0, 1)))[0]
    assert isinstance(finish, FinishJob)
    assert finish.status is JobStatus.FAILED


def test_what_was_found_goes_with_its_worker() -> None:
    play = Play("w0", "w1")
    play.submit(with_found(map_reduce(1, 1), p0="w1"))
    assert launched(play.tell(WorkerLeft("w1", 1))) == [(key(0, 0, 1), "w0")]


def test_nothing_is_found_on_a_worker_that_is_not_there() -> None:
    play = Play("w0")
    assert launched(play.submit(with_found(map_reduce(1, 1), p0="w7"))) == [(key(0, 0), "w0")]


def test_a_stage_that_comes_out_with_other_rows_starts_over() -> None:
    """The found block and the one made now differ: who read the first reads again."""
    play = Play("w0")
    play.submit(with_found(map_reduce(1, 2), p0="w0"))
    play.done(key(1, 0))
    play.failed(key(1, 1), gone(key(0, 0)))
    assert launched(play.done(key(0, 0, 1), OTHER)) == [(key(0, 0, 2, 1), "w0")]


def test_its_block_is_let_go_with_the_job_like_any_other() -> None:
    play = Play("w0")
    play.submit(with_found(map_reduce(1, 1), p0="w0"))
    assert ReleaseBlocks("w0", 1, (key(0, 0),)) in play.done(key(1, 0))


@pytest.mark.parametrize(
    "spec",
    [
        with_found(map_reduce(label=Label.INDETERMINATE), p0="w0"),
        with_found(map_reduce(2), p2="w0"),
        with_found(single(sink=True), p0="w0"),
        replace(map_reduce(), found=(CachedOutput(7, 0, "w0", RECEIPT),)),
        replace(map_reduce(), found=(CachedOutput(0, 0, "w0", RECEIPT),) * 2),
    ],
)
def test_what_cannot_have_been_found_is_a_broken_plan(spec: JobSpec) -> None:
    (finish,) = Play("w0").submit(spec)
    assert isinstance(finish, FinishJob)
    assert finish.status is JobStatus.FAILED


def test_what_was_found_is_part_of_a_snapshot() -> None:
    play = Play("w0")
    play.submit(with_found(map_reduce(2, 1), p1="w0"))
    state = play.scheduler.state
    assert snapshot.load(json.loads(json.dumps(snapshot.dump(state)))) == state


def test_a_second_submission_finds_nothing_new() -> None:
    play = Play()
    play.submit(map_reduce(1, 1))
    play.tell(WorkerRegistered("w0", 1, 1))
    assert play.tell(JobSubmitted(with_found(map_reduce(1, 1), p0="w0"))) == []
