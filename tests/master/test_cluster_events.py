"""What a cluster tells of itself: its events, over a restart, by kind, page by page."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.master.masters import Bench, Client

from minispark.errors import ErrorInfo, TaskError, TimedOut
from minispark.journal import cluster_event as news
from minispark.journal.cluster_event import (
    MAX_SENTENCE,
    ClusterEvent,
    EventQuery,
    read_news,
    words_of,
)
from minispark.journal.journal import Journal
from minispark.settings import SchedulerSettings

EVIL = '<img src=x onerror="alert(1)">'


async def events_of(client: Client, **asked: Any) -> list[tuple[str, str, str]]:
    """All events, oldest first: about what, kind, sentence."""
    found = (await client.get("/api/v1/events", **asked)).json()["events"]
    return [(line["about"], line["kind"], line["said"]) for line in reversed(found)]


def test_workers_jobs_attempts_and_the_master_are_told_in_order(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            worker = await bench.worker(client)
            job = await client.submit(bench.one_stage(), name=EVIL)
            (first,) = (await worker.poll()).tasks
            await worker.report(worker.fail(first, TimedOut(5.0)))
            await worker.poll()
            worker = await bench.worker(client)  # What its earlier life ran is lost.
            (third,) = (await worker.poll()).tasks
            await worker.report(worker.fail(third, TaskError(ErrorInfo("MS-160", "bad row"))))
            assert (await client.ended(job))["status"] == "FAILED"
            await worker.drain()
            await worker.leave()
        async with bench.master() as client:
            lines = await events_of(client)
            assert [line[:2] for line in lines] == [
                ("master", "started"),
                ("worker", "registered"),
                ("job", "submitted"),
                ("attempt", "failed"),
                ("attempt", "lost"),
                ("worker", "registered"),
                ("attempt", "failed"),
                ("job", "failed"),
                ("worker", "draining"),
                ("worker", "dismissed"),
                ("worker", "down"),
                ("master", "stopped"),
                ("master", "restarted"),
            ]
            said = [line[2] for line in lines]
            assert said[1] == "registered: 4 slots, at http://w1:1"
            assert said[2] == "was submitted: 1 stage, 1 task"
            assert said[3].startswith("attempt 1 of task 0 of stage 0 failed: a task timed out")
            assert said[4] == "1 attempt was lost: w1 registered again"
            assert said[7].startswith("FAILED after ")
            assert said[7].endswith(": bad row")
            assert said[12] == "the master restarted (run 2)"
            (line,) = (await client.get("/api/v1/events", about="job", limit=1)).json()["events"]
            assert (line["job_id"], line["job_name"], line["kept"]) == (job, EVIL, True)
            failed = (await client.get("/api/v1/events", about="attempt")).json()["events"][0]
            assert (failed["worker"], failed["task"]) == ("w1", third.key.block_id)

    asyncio.run(story())


def test_pages_follow_each_other_and_a_kind_is_asked_for(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            for number in range(5):
                await bench.worker(client, f"w{number}")
            # A sentence is written after its row: the last one may come a moment later.
            async with asyncio.timeout(20):
                while len(await ids(client)) < 6:
                    await asyncio.sleep(0.01)
            seen, after = [], None
            while True:
                asked: dict[str, int] = {} if after is None else {"after": after}
                page = (await client.get("/api/v1/events", limit=2, about="worker", **asked)).json()
                seen += [line["worker"] for line in page["events"]]
                after = page["after"]
                if after is None:
                    break
            assert seen == ["w4", "w3", "w2", "w1", "w0"]
            assert (await client.get("/api/v1/events", about="nothing")).status_code == 422
            first = await client.http.get("/events?about=worker")
            assert 'aria-current="true">Workers<' in first.text
            assert all(f"worker-w{number}" in first.text for number in range(5))
            assert "data-pulse" in first.text
            older = await client.http.get(f"/events?after={(await ids(client))[0]}")
            assert "data-pulse" not in older.text  # What is past does not change.

    asyncio.run(story())


async def ids(client: Client) -> list[int]:
    return [line["id"] for line in (await client.get("/api/v1/events")).json()["events"]]


def test_who_is_left_out_and_who_is_full_is_told_once(bench: Bench) -> None:
    async def story() -> None:
        settings = SchedulerSettings(exclude_after=1, exclude_s=0.0)
        async with bench.master(scheduler=settings) as client:
            bad, _ = await bench.worker(client, "bad"), await bench.worker(client, "good")
            await client.submit(bench.two_stages())
            tasks = (await bad.poll()).tasks
            await bad.report(bad.fail(tasks[0], TimedOut(1.0)))
            for full in ("disk", "disk", None):
                await bad.heartbeat_full(full)
        async with bench.master() as client:  # All that the last one had to tell is written.
            kinds = [line[1] for line in await events_of(client, about="worker")]
            assert kinds == ["registered", "registered", "excluded", "admitted", "full", "room"]

    asyncio.run(story())


def test_the_oldest_of_a_kind_go_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "MAX_NEWS", 3)
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.start(lambda _number: None)
    journal.news([ClusterEvent("worker", "registered", "w")], at=1.0)
    for number in range(9):
        journal.news([ClusterEvent("attempt", "failed", f"{number}" * 2 * MAX_SENTENCE)], at=2.0)
    journal.snapshot({}, version=1, now=0.0, at=0.0)
    assert journal.close()
    found = read_news(path, EventQuery(), limit=10)
    assert [line.news.said[0] for line in found] == ["8", "7", "6", "w"]
    assert {len(line.news.said) for line in found} == {MAX_SENTENCE, 1}


def test_events_are_selected_by_what_they_are_about_and_by_number(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.start(lambda _number: None)
    for job, worker in (("a", None), ("a", "w"), ("b", "w"), (None, "w")):
        journal.news([ClusterEvent("job", "failed", "f", worker, job)], at=1.0)
    assert journal.close()

    def numbers(query: EventQuery) -> list[int]:
        return [line.number for line in read_news(path, query, limit=10)]

    assert numbers(EventQuery()) == [4, 3, 2, 1]
    assert numbers(EventQuery(job="a")) == [2, 1]
    assert numbers(EventQuery(job="a", worker="w")) == [2]
    assert numbers(EventQuery(worker="w", after=2)) == [4, 3]
    assert numbers(EventQuery(after=1, before=4)) == [3, 2]
    assert numbers(EventQuery(about="worker")) == []


def test_a_search_looks_at_sentences_and_names(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.start(lambda _number: None)
    events = [
        ClusterEvent("worker", "down", "is DOWN: 100 % lost", worker="w-1"),
        ClusterEvent("job", "failed", "FAILED", job="job-c-1-1", name="Words"),
    ]
    journal.news(events, at=1.0)
    assert journal.close()

    def found(text: str) -> list[str]:
        lines = read_news(path, EventQuery(words=words_of(text)), limit=9)
        return [line.news.kind for line in lines]

    assert found("") == ["failed", "down"]
    assert found("words") == found("JOB-C-1-1 failed") == ["failed"]
    assert found("w-1 100 %") == ["down"]
    assert found("100_") == found("w-1 words") == []


def test_a_journal_without_news_gets_a_place_for_them(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP TABLE news; ALTER TABLE jobs DROP COLUMN origin; "
            "ALTER TABLE jobs DROP COLUMN source; PRAGMA user_version = 2;"
        )
    journal = Journal(path)
    journal.start(lambda _number: None)
    journal.news([ClusterEvent("master", "started", "again")], at=1.0)
    assert journal.close()
    (line,) = read_news(path, EventQuery(about="master"), limit=5)
    assert (line.at, line.news.said) == (1.0, "again")
