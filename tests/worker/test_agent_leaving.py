"""An agent that drains, and blocks that it takes over from another worker."""

import asyncio
from pathlib import Path

import polars as pl
import pytest
from tests.worker.agent_kit import FakeExecutors, agent_for, done, spec, world
from tests.worker.fake_master import TOKEN, FakeMaster, serving

from minispark.blocks.cache import cache_key
from minispark.blocks.format import write_block
from minispark.blocks.host import host_identity
from minispark.blocks.store import BlockStore
from minispark.ids import TaskKey
from minispark.wire.messages import BlockFetch, PollReply
from minispark.worker.app import block_app


def test_a_worker_that_drains_asks_until_it_is_heard_and_waits_for_its_dismissal(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        master, executors = FakeMaster(lose_answers=2), FakeExecutors()
        async with serving(master.app()) as url:
            agent = agent_for(url, tmp_path, executors)
            running = asyncio.create_task(agent.run())
            await master.until(lambda: master.polls, "first poll")
            master.say(PollReply(tasks=(spec(0),)))
            await master.until(lambda: executors.running, "start")
            assert agent.drain()
            await master.until(lambda: len(master.drained) == 3, "three tries")
            # What runs may end, and is reported.
            executors.finish(done(spec(0)))
            await master.until(master.outcomes, "report")
            assert not running.done()
            master.say(PollReply(dismissed=True))
            async with asyncio.timeout(60):
                await running
            await agent.close()
            assert (master.left, set(master.drained)) == ([1], {1})
            master.forget()

    asyncio.run(scenario())


def test_a_worker_that_drains_goes_when_its_master_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minispark.worker.agent._UNANSWERED_S", 0.3)

    async def scenario() -> None:
        master = FakeMaster()
        async with serving(master.app()) as url:
            agent = agent_for(url, tmp_path, FakeExecutors())
            assert not agent.drain()  # It has not registered yet: it may leave at once.
            agent = agent_for(url, tmp_path, FakeExecutors())
            running = asyncio.create_task(agent.run())
            await master.until(lambda: master.polls, "first poll")
            assert agent.drain()
            await master.until(lambda: master.drained, "it was heard")
        async with asyncio.timeout(60):
            await running
        await agent.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["linked", "fetched"])
def test_kept_blocks_are_taken_over_under_the_name_of_the_job(tmp_path: Path, how: str) -> None:
    async def scenario() -> None:
        giver = BlockStore(tmp_path / "giver")
        name = cache_key("f" * 32, 3)
        place = giver.path_of(name.block_id)
        place.symlink_to(tmp_path / "in memory")
        place.write_bytes(b"rows")
        app = block_app(giver, token=TOKEN, hosts={"127.0.0.1"})
        async with serving(app) as url, world(tmp_path) as w:
            fetch = BlockFetch(
                key=spec(3).key,
                host="elsewhere" if how == "fetched" else host_identity(),
                directory=str(giver.directory),
                url=url,
                bytes=4,
                kept=name,
            )
            w.master.say(PollReply(move=(fetch,)))
            moved = lambda: [key for request in w.master.reports for key in request.moved]  # noqa: E731
            await w.master.until(moved, "it was named")
            taken = w.store.path_of(spec(3).key.block_id)
            assert taken.read_bytes() == b"rows"
            assert not taken.is_symlink()

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["linked", "fetched"])
def test_blocks_are_taken_over_from_a_worker_that_leaves(tmp_path: Path, how: str) -> None:
    async def scenario() -> None:
        giver = BlockStore(tmp_path / "giver")
        meta = write_block(giver.directory, spec(3).key, [pl.DataFrame({"a": range(100)})])
        gone = spec(4).key
        app = block_app(giver, token=TOKEN, hosts={"127.0.0.1"})
        async with serving(app) as url, world(tmp_path) as w:
            taken = w.store.path_of(spec(3).key.block_id)
            fetch = BlockFetch(
                key=spec(3).key,
                host="elsewhere" if how == "fetched" else host_identity(),
                directory=str(giver.directory),
                url=url,
                bytes=meta.bytes,
            )
            missing = fetch.model_copy(update={"key": gone})
            nothing = fetch.model_copy(update={"key": spec(5).key, "bytes": 0})
            w.master.say(PollReply(move=(missing, fetch, nothing, fetch)))

            def moved() -> set[TaskKey]:
                return {key for request in w.master.reports for key in request.moved}

            await w.master.until(lambda: len(moved()) == 2, "both were named")
            assert moved() == {spec(3).key, spec(5).key}
            assert taken.read_bytes() == giver.path_of(spec(3).key.block_id).read_bytes()
            assert taken.samefile(giver.path_of(spec(3).key.block_id)) == (how != "fetched")
            assert list(w.store.directory.iterdir()) == [taken]

    asyncio.run(scenario())
