"""What a worker keeps for later jobs, and how its master hears of it in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from minispark.blocks.cache import BlockCache, cache_key
from minispark.blocks.format import write_block
from minispark.blocks.meta import BlockMeta
from minispark.blocks.store import BlockStore
from minispark.errors import Cancelled
from minispark.ids import TaskKey
from minispark.journal.rows import Registration
from minispark.master.control.registry import WorkerSession
from minispark.plan.stages import Output, OutputKind
from minispark.settings import CacheSettings
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.wire.messages import PollReply
from minispark.worker.cache_sync import CacheSync


class Bench:
    """A sync, its cache, and a master's idea of it."""

    def __init__(self, folder: Path) -> None:
        self.store = BlockStore(folder / "blocks")
        self.cache = BlockCache(self.store.directory, memory=None, settings=CacheSettings())
        self.sync = CacheSync(self.cache)
        self.entry = self.new_master()

    def new_master(self) -> WorkerSession:
        known = Registration(worker="w", epoch=1, slots=1, url="", host="", directory="")
        self.entry = WorkerSession(known, seen_at=0.0)
        return self.entry

    def spec(self, number: int) -> TaskSpec:
        return TaskSpec(
            TaskKey("job-a-1-1", 0, 0, number, 0),
            b"",
            (),
            (),
            Output(OutputKind.SINGLE),
            block_directory=str(self.store.directory),
            keep=cache_key("f" * 32, number),
        )

    async def run(self, number: int) -> BlockMeta:
        spec = self.spec(number)
        meta = write_block(self.store.directory, spec.key, [pl.DataFrame({"n": range(number)})])
        await self.sync.keep(spec, TaskReport(spec.key, meta))
        return meta

    async def talk(self, *, arrives: bool = True, answered: bool = True) -> None:
        changes = await self.sync.changes()
        if arrives:
            self.entry.update_cache(changes)
            if answered:
                self.sync.confirm(self.entry.cache_version)

    @property
    def known(self) -> list[int]:
        return sorted(key.partition for key in self.entry.cached_blocks)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_what_is_kept_outlives_its_job(bench: Bench) -> None:
    async def story() -> None:
        meta = await bench.run(3)
        bench.store.delete_job("job-a-1-1")
        assert bench.cache.get(cache_key("f" * 32, 3)) == meta
        assert bench.store.path_of(cache_key("f" * 32, 3).block_id).is_file()
        assert bench.sync.metrics()["cache_misses"] == 1

    run(story())


def test_only_what_ended_well_and_was_asked_for_is_kept(bench: Bench) -> None:
    async def story() -> None:
        spec = bench.spec(1)
        await bench.sync.keep(spec, TaskFailure(spec.key, Cancelled()))
        await bench.sync.keep(replace(spec, keep=None), TaskReport(spec.key, BlockMeta(())))
        # Its job was over before it could be kept.
        await bench.sync.keep(spec, TaskReport(spec.key, BlockMeta(())))
        assert bench.sync.metrics()["cache_blocks"] == 0

    run(story())


def test_a_fault_of_the_cache_is_not_one_of_the_task(bench: Bench) -> None:
    async def story() -> None:
        bench.cache.settings = None  # type: ignore[assignment]  # a fault in the cache
        await bench.run(1)
        assert bench.cache.get(cache_key("f" * 32, 1)) is None

    run(story())


def test_the_master_hears_of_all_in_the_end(bench: Bench) -> None:
    async def story() -> None:
        await bench.run(1)
        await bench.talk(arrives=False)
        await bench.run(2)
        await bench.talk(answered=False)
        assert bench.known == [1, 2]
        await bench.run(3)
        bench.cache.drop([cache_key("f" * 32, 1)])
        await bench.talk()
        assert bench.known == [2, 3]
        assert await bench.sync.changes() is None
        # Only what is new travels.
        await bench.run(4)
        changes = await bench.sync.changes()
        assert changes is not None
        assert [block.key.partition for block in changes.added] == [4]

    run(story())


def test_a_new_master_hears_of_everything(bench: Bench) -> None:
    async def story() -> None:
        await bench.run(1)
        await bench.talk()
        bench.new_master()
        await bench.run(2)
        await bench.talk()  # It cannot make anything of changes, and says so.
        assert bench.known == []
        await bench.talk()
        assert bench.known == [1, 2]

    run(story())


def test_what_comes_late_changes_nothing(bench: Bench) -> None:
    async def story() -> None:
        await bench.run(1)
        late = await bench.sync.changes()
        bench.cache.drop([cache_key("f" * 32, 1)])
        await bench.talk()
        assert bench.known == []
        bench.entry.update_cache(late)
        assert bench.known == []

    run(story())


def test_the_master_says_what_is_used_and_what_is_broken(bench: Bench) -> None:
    async def story() -> None:
        await bench.run(1)
        name = cache_key("f" * 32, 1).block_id
        bench.sync.apply(PollReply(cache_used=(name,)))
        assert bench.sync.metrics()["cache_hits"] == 1
        bench.sync.apply(PollReply(cache_drop=(name,)))
        assert not bench.store.path_of(name).exists()

    run(story())


def test_without_a_cache_nothing_is_kept_and_nothing_said() -> None:
    async def story() -> None:
        sync = CacheSync(None)
        spec = TaskSpec(TaskKey("j", 0, 0, 0, 0), b"", (), (), Output(OutputKind.SINGLE))
        await sync.keep(spec, TaskReport(spec.key, BlockMeta(())))
        name = cache_key("f" * 32, 0).block_id
        sync.apply(PollReply(cache_used=(name,), cache_drop=(name,)))
        sync.clear()
        assert await sync.changes() is None
        assert sync.metrics() == {}

    run(story())
