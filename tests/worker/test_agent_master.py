"""An agent whose master is absent, unknown or of an earlier epoch."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response
from tests.worker.agent_kit import FakeExecutors, agent_for, spec, world
from tests.worker.fake_master import TOKEN, FakeMaster, serving

from minispark.errors import UsageError
from minispark.wire.messages import PollReply
from minispark.worker.app import metrics_app


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
        (Response(status_code=404), "not a Mini-Spark master"),
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


@pytest.mark.parametrize(
    ("address", "said"), [("{url}", "is a worker"), ("https{rest}", "speaks http, not https")]
)
def test_an_address_that_is_not_the_masters_ends_the_worker(
    tmp_path: Path, address: str, said: str
) -> None:
    async def scenario() -> None:
        guarded = metrics_app(
            dict, worker_id="w-1", slots=1, token=TOKEN, hosts={"127.0.0.1"}, open_figures=True
        )
        async with serving(guarded) as url:
            wrong = address.format(url=url, rest=url.removeprefix("http"))
            agent = agent_for(wrong, tmp_path, FakeExecutors())
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
            with pytest.raises(
                UsageError, match="does not answer as a Mini-Spark master"
            ) as refused:
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
