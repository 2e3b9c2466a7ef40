import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import polars as pl
import pytest
from starlette.responses import JSONResponse, Response
from tests.worker.fake_master import TOKEN, FakeMaster, serving

from minispark.blocks.cache import CACHE_PREFIX, cache_key
from minispark.blocks.fetch import FetchSettings
from minispark.blocks.format import write_block
from minispark.blocks.host import host_identity
from minispark.blocks.meta import BlockMeta
from minispark.blocks.store import BlockStore
from minispark.errors import Cancelled, UsageError
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.tokens import BlockKey
from minispark.wire.http import versions
from minispark.wire.messages import BlockFetch, PollReply, RegisterRequest
from minispark.worker.agent import Agent
from minispark.worker.app import block_app
from minispark.worker.capacity import CapacityGate, read_sizes
from minispark.worker.rpc import MasterRpc
from minispark.worker.settings import WorkerConfig

DISK_LIMIT = 1 << 20


def spec(number: int, attempt: int = 0) -> TaskSpec:
    key = TaskKey("job-a-1-1", 0, 0, number, attempt)
    return TaskSpec(key, b"\x00\xff", (), (), Output(OutputKind.SINGLE))


class FakeExecutors:
    """Tasks end when the test says so."""

    def __init__(self) -> None:
        self.running: dict[TaskKey, asyncio.Future[TaskReport | TaskFailure]] = {}
        self.started: list[TaskSpec] = []
        self.cancelled: list[TaskKey] = []

    async def run(self, task: TaskSpec) -> TaskReport | TaskFailure:
        self.started.append(task)
        self.running[task.key] = asyncio.get_running_loop().create_future()
        return await self.running[task.key]

    async def cancel(self, key: TaskKey) -> None:
        self.cancelled.append(key)
        self.finish(TaskFailure(key, Cancelled()))

    async def close(self) -> None:
        pass

    def finish(self, outcome: TaskReport | TaskFailure) -> None:
        self.running.pop(outcome.key).set_result(outcome)


class World:
    """A fake master, an agent and its executors."""

    def __init__(
        self, master: FakeMaster, agent: Agent, executors: FakeExecutors, store: BlockStore
    ) -> None:
        self.master, self.agent, self.executors, self.store = master, agent, executors, store

    async def started(self, *tasks: TaskSpec) -> None:
        keys = {task.key for task in tasks}
        await self.master.until(lambda: keys <= self.executors.running.keys(), f"start of {keys}")


def agent_for(url: str, tmp_path: Path, executors: FakeExecutors, slots: int = 1) -> Agent:
    config = WorkerConfig(
        master_url=url,
        token=TOKEN,
        work_dir=tmp_path,
        slots=slots,
        heartbeat_s=0.05,
        data_root=tmp_path,
        task_timeout_s=9.0,
    )
    store = BlockStore(tmp_path / "blocks")
    return Agent(
        config,
        rpc=MasterRpc(url, TOKEN, "w-00000000"),
        fetch=FetchSettings(key=BlockKey(TOKEN)),
        executors=executors,
        store=store,
        capacity=CapacityGate(lambda: read_sizes(store, 0), disk_limit_bytes=DISK_LIMIT),
        register=RegisterRequest(
            worker_id="w-00000000",
            url="http://127.0.0.1:1",
            host="here",
            directory=str(store.directory),
            slots=slots,
            versions=versions(),
        ),
        on_registered=lambda: None,
    )


@contextlib.asynccontextmanager
async def world(tmp_path: Path, *, slots: int = 1) -> AsyncIterator[World]:
    master, executors = FakeMaster(), FakeExecutors()
    async with serving(master.app()) as url:
        agent = agent_for(url, tmp_path, executors, slots)
        running = asyncio.create_task(agent.run())
        try:
            await master.until(lambda: master.polls, "first poll")
            yield World(master, agent, executors, BlockStore(tmp_path / "blocks"))
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await agent.close()
            master.forget()


def done(task: TaskSpec) -> TaskReport:
    return TaskReport(task.key, BlockMeta(()))


def test_a_task_is_filled_in_run_and_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.say(PollReply(tasks=(spec(0),)))
            await w.started(spec(0))
            [given] = w.executors.started
            assert given.fragment == b"\x00\xff"
            assert given.block_directory == str(tmp_path / "blocks")
            assert given.data_root == str(tmp_path)
            assert given.timeout_s == 9.0
            w.executors.finish(done(spec(0)))
            await w.master.until(w.master.outcomes, "report")
            assert w.master.outcomes() == [done(spec(0))]
            assert w.master.reports[0].member.epoch == 1

    asyncio.run(scenario())


def test_the_poll_stays_open_with_no_free_slot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.say(PollReply(tasks=(spec(0), spec(1))))
            await w.started(spec(0))
            await w.master.until(lambda: w.master.polls == 2, "second poll")
            w.master.say(PollReply(cancel=(spec(0).key,)))
            await w.started(spec(1))
            assert w.executors.cancelled == [spec(0).key]
            await w.master.until(w.master.outcomes, "report")
            assert w.master.outcomes() == [TaskFailure(spec(0).key, Cancelled())]

    asyncio.run(scenario())


def test_a_poll_reply_that_comes_twice_starts_nothing_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, slots=2) as w:
            reply = PollReply(tasks=(spec(0),))
            w.master.say(reply)
            w.master.say(reply)
            await w.master.until(lambda: w.master.polls == 3, "third poll")
            w.executors.finish(done(spec(0)))
            await w.master.until(w.master.outcomes, "report")
            w.master.say(reply)
            await w.master.until(lambda: w.master.polls == 4, "fourth poll")
            assert [task.key for task in w.executors.started] == [spec(0).key]

    asyncio.run(scenario())


def test_a_report_whose_answer_is_lost_is_sent_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.lose_answers = 2
            w.master.say(PollReply(tasks=(spec(0),)))
            await w.started(spec(0))
            w.executors.finish(done(spec(0)))
            await w.master.until(lambda: len(w.master.reports) == 3, "third report")
            assert w.master.outcomes() == [done(spec(0))] * 3
            # Answered, so the next report holds the next outcome only.
            w.master.say(PollReply(tasks=(spec(1),)))
            await w.started(spec(1))
            w.executors.finish(done(spec(1)))
            await w.master.until(lambda: len(w.master.reports) == 4, "fourth report")
            assert w.master.outcomes()[-1] == done(spec(1))

    asyncio.run(scenario())


def test_reports_wait_for_more_of_their_stage_but_not_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minispark.worker.report_queue._LINGER_S", 1000.0)

    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.say(PollReply(tasks=tuple(map(spec, range(7)))))
            for number in range(3):
                await w.started(spec(number))
                w.executors.finish(done(spec(number)))
            # As many are in line now as ended: a slot could stand still.
            await w.master.until(w.master.outcomes, "report")
            assert w.master.outcomes() == [done(spec(number)) for number in range(3)]
            failed = TaskFailure(spec(3).key, Cancelled())
            await w.started(spec(3))
            w.executors.finish(failed)
            await w.master.until(lambda: failed in w.master.outcomes(), "report of the failure")

    asyncio.run(scenario())


def test_an_unsent_report_still_counts_as_held(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.lose_answers = 1_000_000
            w.master.say(PollReply(tasks=(spec(0),)))
            await w.started(spec(0))
            w.executors.finish(done(spec(0)))
            await w.master.until(w.master.reports.__len__, "report")
            count = len(w.master.heartbeats)
            await w.master.until(lambda: len(w.master.heartbeats) > count + 1, "heartbeat")
            last = w.master.heartbeats[-1]
            assert last.attempts == (spec(0).key,)
            w.master.lose_answers = 0

    asyncio.run(scenario())


def test_register_again_ends_what_runs_and_begins_a_new_epoch(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.say(PollReply(tasks=(spec(0), spec(1))))
            await w.started(spec(0))
            w.master.forget()
            await w.master.until(lambda: w.master.epoch == 2, "second registration")
            await w.master.until(lambda: w.executors.cancelled, "cancel")
            assert w.executors.cancelled == [spec(0).key]
            # The same attempt may be handed out again: this is another life.
            w.master.say(PollReply(tasks=(spec(0),)))
            await w.started(spec(0))
            w.executors.finish(done(spec(0)))
            await w.master.until(w.master.outcomes, "report")
            assert [(r.member.epoch, r.reports) for r in w.master.reports] == [
                (2, (done(spec(0)),))
            ]

    asyncio.run(scenario())


def test_heartbeats_say_what_is_held_and_how_the_worker_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.say(PollReply(tasks=(spec(0, attempt=1), spec(1))))
            await w.started(spec(0, attempt=1))
            await w.master.until(
                lambda: w.master.heartbeats and w.master.heartbeats[-1].attempts, "heartbeat"
            )
            beat = w.master.heartbeats[-1]
            assert set(beat.attempts) == {spec(0, attempt=1).key, spec(1).key}
            assert beat.metrics["active_tasks"] == 2
            assert beat.metrics["retries"] == 1
            assert beat.metrics["memory_bytes"] > 1_000_000
            names = {"cpu_percent", "tasks_done", "tasks_failed", "cache_bytes"}
            assert names <= beat.metrics.keys()

    asyncio.run(scenario())


def test_a_worker_says_when_its_disk_is_full_and_when_there_is_room_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:

            async def says(full: str | None) -> None:
                beats = w.master.heartbeats
                await w.master.until(lambda: beats and beats[-1].full == full, f"full: {full}")

            await says(None)
            block = w.store.path_of(spec(0).key.block_id)
            block.write_bytes(bytes(DISK_LIMIT))
            await says("disk")
            assert w.master.heartbeats[-1].metrics["block_bytes"] == DISK_LIMIT
            # What is kept for later jobs makes way by itself, and is no reason to stop.
            block.rename(block.with_name(f"{CACHE_PREFIX}0.0.0.0.0.blk"))
            await says(None)

    asyncio.run(scenario())


def test_released_blocks_are_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            mine, other = w.store.path_of(spec(0).key.block_id), w.store.path_of("job-b.0.0.0.0")
            mine.touch()
            other.touch()
            w.master.say(PollReply(release=(spec(0).key.block_id,)))
            await w.master.until(lambda: not mine.exists(), "deletion")
            assert other.exists()

    asyncio.run(scenario())


def test_a_worker_waits_for_its_master(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(FakeMaster().app()) as url:
            pass
        port = int(url.rpartition(":")[2])
        agent = agent_for(url, tmp_path, FakeExecutors())
        running = asyncio.create_task(agent.run())
        await asyncio.sleep(0.1)
        master = FakeMaster()
        async with serving(master.app(), port):
            # A poll proves that the answer to the registration has arrived.
            await master.until(lambda: master.polls, "registration")
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await agent.close()
            assert master.left == [1]
            master.forget()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (JSONResponse({"error": {"code": "MS-601", "message": "no"}}, 401), "token"),
        (JSONResponse({"error": {"code": "MS-503", "message": "Polars differs"}}, 409), "differs"),
        (Response(status_code=404), "no Mini-Spark master"),
    ],
)
def test_what_will_never_pass_ends_the_worker(tmp_path: Path, answer: Response, said: str) -> None:
    async def scenario() -> None:
        master = FakeMaster(refuse=answer)
        async with serving(master.app()) as url:
            agent = agent_for(url, tmp_path, FakeExecutors())
            with pytest.raises(UsageError, match=said):
                async with asyncio.timeout(60):
                    await agent.run()
            await agent.close()

    asyncio.run(scenario())


NO_ANSWERS = {
    "page": Response("<html>"),
    "nothing": Response(b""),
    "other JSON": JSONResponse({"hello": "world"}),
    "deep JSON": Response("[" * 100_000),
    "proxy": Response("forbidden", status_code=403),
    "redirect": Response(status_code=302, headers={"Location": "http://127.0.0.1:1/"}),
    "path for a block": JSONResponse({"release": ["../../x"], "master_epoch": 1}),
    "path for a kept block": JSONResponse({"cache_drop": ["../../x"], "master_epoch": 1}),
    "path for a task": JSONResponse(
        {"cancel": [spec(0).key._replace(job="../x")._asdict()], "master_epoch": 1}
    ),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_a_stranger_in_place_of_the_master_is_outlived(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.stranger = NO_ANSWERS[name]
            w.master.say(PollReply())
            seen = w.master.strange
            await w.master.until(lambda: w.master.strange >= seen + 3, "it was asked again")
            w.master.stranger = None
            w.master.say(PollReply(tasks=(spec(0),)))
            await w.started(spec(0))

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["page", "nothing", "other JSON", "deep JSON"])
def test_a_worker_that_meets_no_master_says_so(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with serving(FakeMaster(refuse=NO_ANSWERS[name]).app()) as url:
            agent = agent_for(url, tmp_path, FakeExecutors())
            with pytest.raises(UsageError, match="no answer of a Mini-Spark master") as refused:
                async with asyncio.timeout(60):
                    await agent.run()
            assert refused.value.info.code == "MS-502"
            await agent.close()

    asyncio.run(scenario())


def test_a_master_that_does_not_know_whom_it_took_is_not_asked_without_a_pause(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        master = FakeMaster()
        async with serving(master.app()) as url:
            agent = agent_for(url, tmp_path, FakeExecutors())
            running = asyncio.create_task(agent.run())
            for _ in range(3):

                def registered(taken: int = master.epoch) -> bool:
                    return master.epoch > taken

                await master.until(registered, "registration")
                master.forget()
            before = master.epoch
            await asyncio.sleep(0.2)
            assert master.epoch <= before + 1
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            await agent.close()

    asyncio.run(scenario())


def test_an_older_life_of_the_master_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.master_epoch = 0
            w.master.forget()
            await w.master.until(lambda: w.master.epoch >= 3, "several tries")
            assert w.agent.machine.epoch is None
            w.master.master_epoch = 2
            await w.master.until(lambda: w.agent.machine.epoch is not None, "acceptance")

    asyncio.run(scenario())


def test_what_an_older_life_of_the_master_says_is_not_done(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.master_epoch = 0
            polls = w.master.polls
            w.master.say(PollReply(tasks=(spec(0),)))
            await w.master.until(lambda: w.master.polls > polls, "another poll")
            assert not w.executors.started
            w.master.master_epoch = 1
            w.master.say(PollReply(tasks=(spec(1),)))
            await w.started(spec(1))
            assert w.executors.started[0].key == spec(1).key

    asyncio.run(scenario())

    asyncio.run(scenario())


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
