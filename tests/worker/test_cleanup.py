"""What a job leaves or says ends no worker: neither a clean-up that fails nor a strange report."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.worker.agent_kit import World, done, spec, world
from tests.worker.executor_kit import Desk, failure_of, pool_of, until
from tests.worker.executor_kit import run as run_story
from tests.worker.fake_master import FakeMaster

from minispark.blocks.cache import BlockCache
from minispark.blocks.meta import BlockUnavailable
from minispark.blocks.store import BlockStore
from minispark.errors import (
    Cancelled,
    ErrorInfo,
    JobFailedError,
    MinisparkError,
    TaskError,
    UsageError,
    WorkerLost,
)
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind, SinkSpec
from minispark.settings import CacheSettings
from minispark.task.failures import failure_of as failure_from
from minispark.task.sinks import write_part
from minispark.task.spec import SinkFile, TaskFailure, TaskReport, TaskSpec
from minispark.wire.messages import PollReply, ReportRequest
from minispark.worker import cleanup
from minispark.worker.cache_sync import CacheSync
from minispark.worker.capacity import CapacityGate

ERRORS: list[Exception] = [
    UsageError("outside", code="MS-123"),
    MinisparkError("no"),
    JobFailedError("no"),
    BlockUnavailable(TaskKey("job-a-1-1", 0, 0, 0, 0), "gone"),
    *(kind(5, "disk") for kind in (OSError, PermissionError, FileNotFoundError, IsADirectoryError)),
    *(
        kind("strange")
        for kind in (ValueError, TypeError, KeyError, RuntimeError, RecursionError, AssertionError)
    ),
    MemoryError(),
    UnicodeEncodeError("utf-8", "\udc80", 0, 1, "surrogates not allowed"),
]

PLACES: list[tuple[object, str]] = [
    (cleanup, "discard_part"),
    (BlockStore, "delete"),
    (BlockStore, "delete_job"),
    (BlockStore, "names"),
    (CapacityGate, "read"),
    (BlockCache, "make_room"),
    (BlockCache, "changes"),
    (BlockCache, "drop"),
    (BlockCache, "use"),
]


def writing(number: int, root: Path) -> TaskSpec:
    """A task that stages a file."""
    output = Output(OutputKind.SINK, sink=SinkSpec("csv", "out"))
    return replace(spec(number), output=output, data_root=str(root))


def staged(task: TaskSpec, root: Path) -> TaskReport:
    """Stage the file of a task and return its report."""
    import polars as pl

    assert task.output.sink is not None
    frame = pl.DataFrame({"a": [1]})
    file = write_part(frame, task.output.sink, key=task.key, data_root=str(root))
    assert isinstance(file, SinkFile)
    return replace(done(task), sink=file)


async def still_works(w: World, number: int) -> None:
    """Run one more task to its report, and wait for one more heartbeat."""
    beats = len(w.master.heartbeats)
    w.master.say(PollReply(tasks=(spec(number),)))
    await until(lambda: spec(number).key in w.executors.running)
    w.executors.finish(done(spec(number)))
    await until(lambda: done(spec(number)) in w.master.outcomes())
    await until(lambda: len(w.master.heartbeats) > beats + 1)
    assert w.master.epoch == 1
    assert not w.master.left


async def everything_is_cleaned_up(w: World, tmp_path: Path, number: int) -> None:
    """Make a worker call everything that removes something."""
    task = writing(number, tmp_path)
    w.master.say(PollReply(tasks=(task,)))
    await until(lambda: task.key in w.executors.running)
    w.executors.finish(staged(task, tmp_path))
    await until(lambda: task.key in [outcome.key for outcome in w.master.outcomes()])
    name = "cache-00.0.0.0.0"
    w.master.say(PollReply(release=(task.key.block_id,), cache_used=(name,), cache_drop=(name,)))
    w.master.say(PollReply(release_jobs=(task.key.job,)))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[1])
def test_a_cleanup_that_raises_ends_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[object, str]
) -> None:
    calls: list[Exception] = []
    error = ERRORS[0]

    def fail(*_args: object, **_options: object) -> None:
        calls.append(error)
        raise error

    async def scenario() -> None:
        nonlocal error
        async with world(tmp_path, slots=2) as w:
            cache = BlockCache(tmp_path / "blocks", memory=None, settings=CacheSettings())
            w.agent._cache_sync = CacheSync(cache)
            cache.version = 1
            monkeypatch.setattr(*place, fail)
            for number, error in enumerate(ERRORS):  # noqa: B007 - `fail` raises it

                def called_again(before: int = len(calls)) -> bool:
                    return len(calls) > before

                await everything_is_cleaned_up(w, tmp_path, number)
                await until(called_again)
            await still_works(w, len(ERRORS))

    asyncio.run(scenario())


def test_an_output_directory_that_becomes_a_link_ends_no_worker(tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()

    async def scenario() -> None:
        async with world(tmp_path) as w:
            task = writing(0, tmp_path)
            w.master.say(PollReply(tasks=(task,)))
            await w.started(task)
            w.executors.finish(staged(task, tmp_path))
            await w.master.until(w.master.outcomes, "report")
            (tmp_path / "out").rename(outside / "out")
            (tmp_path / "out").symlink_to(outside / "out")
            w.master.say(PollReply(release_jobs=(task.key.job,)))
            await still_works(w, 1)

    asyncio.run(scenario())
    assert len(list((outside / "out").rglob("*.csv"))) == 1


def test_blocks_that_cannot_be_removed_stay_and_the_others_go(tmp_path: Path) -> None:
    store = BlockStore(tmp_path / "blocks")
    keys = [spec(number).key for number in range(3)]
    for key in keys:
        store.path_of(key.block_id).touch()
    store.path_of(keys[0].block_id).unlink()
    store.path_of(keys[0].block_id).mkdir()
    store.delete(keys[:2])
    assert not store.path_of(keys[1].block_id).exists()
    store.delete_job(keys[0].job)
    assert [path.is_dir() for path in store.directory.iterdir()] == [True]


def test_a_worker_whose_block_directory_is_gone_says_that_it_is_full(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            await w.master.until(w.master.heartbeats.__len__, "heartbeat")
            (tmp_path / "blocks").rmdir()
            await w.master.until(lambda: w.master.heartbeats[-1].full == "disk", "full")
            (tmp_path / "blocks").mkdir()
            await w.master.until(lambda: w.master.heartbeats[-1].full is None, "room again")

    asyncio.run(scenario())


def test_the_texts_of_a_failure_can_be_sent() -> None:
    for error in (
        ValueError("half \udc80"),
        FileNotFoundError(2, "no such file", "caf\udce9.csv"),
        UsageError("\ud800", node="\ud800", field="\udfff", file="\udfff", hint="\udfff"),
        BlockUnavailable(spec(0).key, "\udc80"),
    ):
        outcome = TaskFailure(spec(0).key, failure_from(error))
        ReportRequest.model_validate_json(_request(outcome).model_dump_json())
    failure = failure_from(ValueError("half \udc80"))
    assert isinstance(failure, TaskError)
    assert failure.error.message == r"ValueError: half \udc80"


def _request(outcome: TaskFailure) -> ReportRequest:
    return ReportRequest.model_validate(
        {"member": {"cluster_id": "a", "epoch": 1}, "reports": (outcome,)}
    )


def test_a_report_that_cannot_be_written_becomes_a_failure(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, slots=4) as w:
            w.master.say(PollReply(tasks=tuple(map(spec, range(4)))))
            await w.started(*map(spec, range(4)))
            strange = TaskFailure(spec(1).key, WorkerLost("\udc80"))
            for outcome in (done(spec(0)), strange, done(spec(2)), done(spec(3))):
                w.executors.finish(outcome)
            await w.master.until(lambda: len(w.master.outcomes()) == 4, "four reports")
            outcomes = {outcome.key: outcome for outcome in w.master.outcomes()}
            assert outcomes[spec(0).key] == done(spec(0))
            failure = failure_of(outcomes[spec(1).key])
            assert isinstance(failure, TaskError)
            assert failure.error.code == "MS-227"
            assert "cannot be sent" in failure.error.message
            await still_works(w, 9)

    asyncio.run(scenario())


def test_a_report_that_the_master_refuses_becomes_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is larger than the master takes."""
    taken = FakeMaster._reports

    async def choosy(self: FakeMaster, request: Request) -> Response:
        if b"too large" in await request.body():
            error = {"code": "MS-604", "message": "the request is larger than 9 bytes"}
            return JSONResponse({"error": error}, 413)
        return await taken(self, request)

    monkeypatch.setattr(FakeMaster, "_reports", choosy)

    async def scenario() -> None:
        async with world(tmp_path, slots=2) as w:
            w.master.say(PollReply(tasks=(spec(0), spec(1))))
            await w.started(spec(0), spec(1))
            large = TaskError(ErrorInfo("MS-212", "too large"))
            w.executors.finish(TaskFailure(spec(0).key, large))
            w.executors.finish(done(spec(1)))
            await w.master.until(lambda: len(w.master.outcomes()) == 2, "two reports")
            [failed] = [one for one in w.master.outcomes() if isinstance(one, TaskFailure)]
            assert isinstance(failed.failure, TaskError)
            assert "larger than 9 bytes" in failed.failure.error.message
            await still_works(w, 9)

    asyncio.run(scenario())


def test_a_killed_attempt_is_reported_though_nothing_of_it_can_be_removed(
    desk: Desk, tmp_path: Path
) -> None:
    """Its block is a directory, and its output directory has become a link."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(outside)

    async def story() -> None:
        async with pool_of(1) as pool:
            task, sign = desk.hanging()
            task = replace(
                task,
                output=Output(OutputKind.SINK, sink=SinkSpec("csv", "out")),
                data_root=str(root),
            )
            (desk.store.directory / f"{task.key.block_id}.arrow").mkdir()
            running = asyncio.create_task(pool.run(task))
            await until(sign.exists)
            await pool.cancel(task.key)
            assert failure_of(await running) == Cancelled()
            assert isinstance(await pool.run(desk.task()), TaskReport)

    run_story(story)


def test_an_executor_that_answers_nonsense_costs_its_task(desk: Desk) -> None:
    source = (
        "import os, stat, struct, fcntl\n"
        "for n in range(3, 64):\n"
        "  try:\n"
        "    writes = fcntl.fcntl(n, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY\n"
        "    if writes and stat.S_ISFIFO(os.fstat(n).st_mode):\n"
        "      os.write(n, struct.pack('>I', 3) + b'abc')\n"
        "  except OSError: pass\n"
    )

    async def story() -> None:
        async with pool_of(1) as pool:
            outcome = failure_of(await pool.run(desk.task(source)))
            assert isinstance(outcome, WorkerLost)
            assert "executor ended" in outcome.reason
            assert isinstance(await pool.run(desk.task()), TaskReport)

    run_story(story)


def test_a_listener_that_raises_does_not_stop_a_slot(desk: Desk) -> None:
    logging.getLogger().setLevel(logging.CRITICAL)

    def raising(*_: object) -> None:
        raise ValueError

    async def story() -> None:
        async with pool_of(1, on_output=raising) as pool:
            assert isinstance(await pool.run(desk.task("print('x' * 100_000)")), TaskReport)

    run_story(story)
