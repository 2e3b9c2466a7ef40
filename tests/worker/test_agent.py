"""Tasks of an agent: started once, reported until the master has heard."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.worker.agent_kit import DISK_LIMIT, done, spec, world

from minispark.blocks.cache import CACHE_PREFIX
from minispark.clock import monotonic_s
from minispark.errors import Cancelled
from minispark.task.spec import TaskFailure, TaskProgress
from minispark.wire.messages import PollReply


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


def test_a_report_says_how_long_its_attempt_was_queued(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            w.master.say(PollReply(tasks=(spec(0), spec(1))))
            await w.started(spec(0))
            began_s = monotonic_s()
            await w.master.until(lambda: monotonic_s() > began_s + 0.2, "some time")
            w.executors.finish(replace(done(spec(0)), duration_s=0.15))
            await w.started(spec(1))
            w.executors.finish(done(spec(1)))
            await w.master.until(lambda: len(w.master.outcomes()) == 2, "reports")
            first, second = (outcome.queued_s for outcome in w.master.timed_outcomes())
            assert first is not None
            assert second is not None
            assert first > 0
            # The second one waited for all of the time of the first one.
            assert second >= first + 0.15

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
            assert w.master.outcomes() == [done(spec(0))]
            assert [request.member.epoch for request in w.master.reports] == [2]

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
            # The other attempt is queued: it has read nothing, and has not run.
            expected = TaskProgress(spec(0, attempt=1).key, ran_s=1.5, bytes_read=70)
            assert beat.progress == (expected,)

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
