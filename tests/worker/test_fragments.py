"""Fragments come once for all tasks of a branch, and are asked for where they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.worker.agent_kit import done, spec, world

from minispark.errors import MasterUnreachableError
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.settings import FragmentSettings
from minispark.task.spec import FragmentKey, TaskFailure, TaskSpec
from minispark.wire.messages import Fragment, PollReply
from minispark.worker.fragments import Fragments

SENT = FragmentKey("job-a-1-1", 0, 0)


def task(job: str, branch: int = 0) -> TaskSpec:
    return TaskSpec(TaskKey(job, 0, 0, 0, 0), b"", (), (), Output(OutputKind.SINGLE), branch=branch)


def fragment(job: str, size: int, branch: int = 0) -> Fragment:
    return Fragment(key=FragmentKey(job, 0, branch), data=bytes(size))


class Master:
    """Has a fragment of ten bytes for each key, or none for anything."""

    def __init__(self, *, silent: int = 0, ended: bool = False) -> None:
        self.asked: list[FragmentKey] = []
        self.silent = silent
        self.ended = ended

    async def ask(self, key: FragmentKey) -> Fragment | None:
        self.asked.append(key)
        await asyncio.sleep(0)
        if self.silent:
            self.silent -= 1
            raise MasterUnreachableError("no answer")
        return None if self.ended else Fragment(key=key, data=bytes(10))


def held(
    master: Master,
    *,
    limit: int = 100,
    is_wanted: Callable[[TaskKey], bool] = lambda key: True,
) -> Fragments:
    return Fragments(master.ask, is_wanted=is_wanted, settings=FragmentSettings(memory_bytes=limit))


async def scenario(story: Awaitable[None]) -> None:
    async with asyncio.timeout(60):
        await story


def test_what_was_sent_is_not_asked_for() -> None:
    async def story() -> None:
        master = Master()
        fragments = held(master)
        fragments.add([fragment("a", 3)])
        assert await fragments.get(task("a")) == bytes(3)
        assert master.asked == []

    asyncio.run(scenario(story()))


def test_what_is_missing_is_asked_for_once_for_all_tasks() -> None:
    async def story() -> None:
        master = Master(silent=1)
        fragments = held(master)
        got = await asyncio.gather(*(fragments.get(task("a")) for _ in range(5)))
        assert got == [bytes(10)] * 5
        assert master.asked == [FragmentKey("a", 0, 0)] * 2  # The first was not answered.

    asyncio.run(scenario(story()))


def test_a_task_that_has_to_run_no_more_waits_no_more() -> None:
    async def story() -> None:
        master = Master(silent=1_000_000)
        fragments = held(master, is_wanted=lambda key: len(master.asked) < 2)
        assert await fragments.get(task("a")) is None
        assert len(master.asked) == 2

    asyncio.run(scenario(story()))


def test_a_job_that_has_ended_is_an_error_that_names_it() -> None:
    async def story() -> None:
        try:
            await held(Master(ended=True)).get(task("a"))
        except LookupError as error:
            assert "stage 0 of a" in str(error)
        else:
            raise AssertionError

    asyncio.run(scenario(story()))


def test_memory_is_bounded_and_the_least_used_go_first() -> None:
    async def story() -> None:
        master = Master()
        fragments = held(master, limit=100)
        fragments.add([fragment("a", 40), fragment("b", 40)])
        assert await fragments.get(task("a")) == bytes(40)
        fragments.add([fragment("c", 40)])
        assert (fragments.jobs, fragments.held_bytes) == (frozenset({"a", "c"}), 80)
        # The one that a task is about to run is kept, even alone beyond the limit.
        fragments.add([fragment("d", 500)])
        assert await fragments.get(task("d")) == bytes(500)
        assert fragments.jobs == {"d"}
        assert await fragments.get(task("b")) == bytes(10)
        assert master.asked == [FragmentKey("b", 0, 0)]

    asyncio.run(scenario(story()))


def test_the_release_of_a_job_frees_its_fragments_only() -> None:
    fragments = held(Master())
    fragments.add([fragment("a", 40), fragment("a", 40, 1), fragment("b", 7)])
    fragments.release("a")
    assert (fragments.jobs, fragments.held_bytes) == (frozenset({"b"}), 7)


def test_a_lost_reply_strands_no_task(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as w:
            w.master.lose_fragments = True
            w.master.lose_answers = 1
            w.master.say(PollReply(tasks=(spec(0), spec(1))))
            await w.started(spec(0))
            w.executors.finish(done(spec(0)))
            await w.started(spec(1))
            assert {given.fragment for given in w.executors.started} == {spec(0).fragment}
            assert w.master.asked == [SENT, SENT]
            held_jobs = ("job-a-1-1",)
            await w.master.until(
                lambda: w.master.heartbeats[-1].held_jobs == held_jobs, "heartbeat that names it"
            )
            w.master.say(PollReply(release_jobs=("job-a-1-1",)))
            await w.master.until(lambda: not w.master.heartbeats[-1].held_jobs, "release")

    asyncio.run(story())


def test_a_cancel_reaches_a_task_that_waits_for_its_fragment(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as w:
            w.master.lose_fragments = True
            w.master.lose_answers = 1_000_000
            w.master.say(PollReply(tasks=(spec(0),)))
            await w.master.until(lambda: len(w.master.asked) > 1, "second request")
            held = (spec(0).key,)
            await w.master.until(lambda: w.master.heartbeats[-1].attempts == held, "heartbeat")
            w.master.say(PollReply(cancel=(spec(0).key,)))
            await w.master.until(lambda: w.master.polls > 2, "cancel")
            w.master.lose_answers = 0
            await w.master.until(w.master.outcomes, "report")
            [outcome] = w.master.outcomes()
            assert isinstance(outcome, TaskFailure)
            assert outcome.failure.kind == "cancelled"
            assert w.executors.started == []

    asyncio.run(story())


def test_a_new_epoch_begins_without_fragments(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as w:
            w.master.say(PollReply(tasks=(spec(0),)))
            await w.started(spec(0))
            w.master.forget()
            await w.master.until(lambda: w.master.epoch == 2, "second registration")
            w.master.say(PollReply(tasks=(spec(1),)))
            await w.started(spec(1))
            assert w.master.asked == []

    asyncio.run(story())
