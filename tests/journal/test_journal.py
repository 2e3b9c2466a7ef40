from __future__ import annotations

import json
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.journal.journal import Journal


class Durable:
    """Waits for what the writer's thread says."""

    def __init__(self) -> None:
        self.number = 0
        self._changed = threading.Condition()

    def __call__(self, number: int) -> None:
        with self._changed:
            self.number = number
            self._changed.notify_all()

    def wait(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.number >= number, timeout=60)


def test_what_is_durable_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    durable = Durable()
    journal = Journal(path)
    journal.set_meta("cluster", "abcd")
    journal.start(durable)
    journal.job_accepted("j1", {"plan": b"\x00\xff"}, name="one", at=1.0, idempotency_key="k")
    payload = {"key": TaskKey("j1", 0, 0, 0, 0)._asdict()}
    journal.event("task_failed", payload, job="j1", at=2.0)
    number = journal.job_ended("j1", {"view": 1}, status="SUCCEEDED", at=3.0)
    journal.job_accepted("j2", {}, name="two", at=4.0)
    durable.wait(number)
    (event,) = journal.read_events("j1")
    assert event.kind == "task_failed"
    assert json.loads(event.payload)["key"]["job"] == "j1"
    assert journal.read_events("j1", after=event.seq) == []
    journal.close()

    again = Journal(path)
    assert again.meta("cluster") == "abcd"
    assert again.meta("nothing") is None
    first, second = again.jobs()
    assert (first.job, first.status, first.finished_at) == ("j1", "SUCCEEDED", 3.0)
    assert first.idempotency_key == "k"
    assert first.outcome == '{"view":1}'
    assert (second.job, second.status, second.outcome) == ("j2", "ACCEPTED", None)
    again.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_forgotten_job_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.start(Durable())
    journal.job_accepted("j1", {}, name="one", at=1.0)
    journal.event("x", {}, job="j1", at=2.0)
    journal.job_forgotten("j1")
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert again.jobs() == []
    assert again.read_events("j1") == []
    again.close()


def test_every_write_is_announced_once_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    said: list[int] = []
    journal.start(said.append)
    for number in range(2_500):
        journal.event("x", {"n": number}, job="j", at=0.0)
    journal.close()
    assert said == sorted(set(said))
    assert said[-1] == 2_500
    again = Journal(tmp_path / "journal.db")
    assert len(again.read_events("j", limit=5_000)) == 2_500
    again.close()


def test_an_event_is_found_by_every_job_it_decided_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    durable = Durable()
    journal.start(durable)
    for job in ("j1", "j2"):
        journal.job_accepted(job, {}, name=job, at=0.0)
    launch = [["launch", "w", "j2.0.0.0.0"]]
    number = journal.event("x", {}, job="j1", at=1.0, now=5.0, commands=launch, mentions=["j2"])
    durable.wait(number)
    (mine,), (theirs,) = journal.read_events("j1"), journal.read_events("j2")
    assert mine == theirs
    assert (mine.now, mine.commands) == (5.0, '[["launch","w","j2.0.0.0.0"]]')
    journal.close()


def test_a_replay_gives_what_came_after_and_what_is_about_the_jobs(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.start(lambda _number: None)
    journal.job_accepted("j1", {}, name="one", at=0.0)
    journal.event("before", 1, job="j1", at=0.0)
    journal.event("before", 2, job="j2", at=0.0)
    journal.event("before", 3, job="", at=0.0, mentions=["j1"])
    journal.snapshot({"a": 1}, version=7, now=3.5, at=0.0)
    journal.event("after", 4, job="j2", at=0.0)
    journal.close()

    again = Journal(path)
    snapshot = again.last_snapshot()
    assert snapshot is not None
    assert (snapshot.seq, snapshot.version, snapshot.now) == (3, 7, 3.5)
    assert snapshot.state == '{"a":1}'
    rows = list(again.replay(after=snapshot.seq, jobs=["j1"]))
    assert [row.payload for row in rows] == ["1", "3", "4"]
    again.close()


def test_snapshots_bound_the_journal(tmp_path: Path) -> None:
    """Rows of jobs that are forgotten, and of no job at all, go with the second snapshot."""
    path = tmp_path / "journal.db"
    sizes = []
    for life in range(6):
        journal = Journal(path)
        journal.start(lambda _number: None)
        journal.job_accepted(f"j{life}", {}, name="", at=0.0)
        for _ in range(500):
            journal.event("x", {"text": "x" * 200}, job=f"j{life}", at=0.0)
            journal.event("y", {"text": "y" * 200}, job="", at=0.0)
        journal.job_forgotten(f"j{life}")
        journal.snapshot({}, version=1, now=0.0, at=0.0)
        assert journal.seq == 1_000 * (life + 1)
        journal.close()
        sizes.append(path.stat().st_size)
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*), min(seq) FROM events").fetchone() == (1_000, 5_001)
    assert [seq for (seq,) in db.execute("SELECT seq FROM snapshots")] == [5_000, 6_000]
    db.close()
    assert max(sizes) < 1.1 * sizes[2]


def test_numbers_of_events_never_repeat(tmp_path: Path) -> None:
    """A snapshot means "all up to here": a later event must not hide below it."""
    path = tmp_path / "journal.db"
    for life in range(3):
        journal = Journal(path)
        journal.start(lambda _number: None)
        journal.event("x", {}, job="gone", at=0.0)
        assert journal.seq == life + 1
        journal.snapshot({}, version=1, now=0.0, at=0.0)
        journal.snapshot({}, version=1, now=0.0, at=0.0)
        journal.close()


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UsageError, match="another version"):
        Journal(path)


_V1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, job TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    status TEXT NOT NULL, submitted_at REAL NOT NULL, finished_at REAL,
    idempotency_key TEXT, graph TEXT NOT NULL, outcome TEXT
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, job TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX events_of_job ON events (job, seq);
INSERT INTO meta VALUES ('cluster_id', 'abcd');
INSERT INTO jobs VALUES (1, 'j1', 'one', 'SUCCEEDED', 1.0, 2.0, 'k', '{}', '{"view":1}');
INSERT INTO jobs VALUES (2, 'j2', 'two', 'ACCEPTED', 3.0, NULL, NULL, '{}', NULL);
INSERT INTO events VALUES (1, 'j2', 'launch_task', 4.0, '{}');
PRAGMA user_version = 1;
"""


def test_a_journal_of_the_first_version_is_brought_to_this_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    db = sqlite3.connect(path)
    db.executescript(_V1)
    db.close()
    journal = Journal(path)
    assert journal.meta("cluster_id") == "abcd"
    first, second = journal.jobs()
    assert (first.status, first.outcome, first.staging) == ("SUCCEEDED", '{"view":1}', None)
    assert (second.status, second.outcome) == ("ACCEPTED", None)
    assert journal.last_snapshot() is None
    (row,) = journal.replay(after=0, jobs=[])
    assert (row.kind, row.now, row.commands) == ("launch_task", None, None)
    journal.start(lambda _number: None)
    journal.event("x", {}, job="j2", at=5.0, now=1.0, mentions=["j1"])
    assert journal.close()
    again = Journal(path)
    assert [row.seq for row in again.read_events("j1")] == [2]
    again.close()


def test_a_write_that_can_never_be_done_is_said(tmp_path: Path) -> None:
    said = threading.Event()
    journal = Journal(tmp_path / "journal.db")
    journal.start(lambda _number: None, said.set)
    journal.job_accepted("j1", {}, name="one", at=1.0)
    journal.job_accepted("j1", {}, name="twice", at=1.0)
    assert said.wait(60)
    assert isinstance(journal.failure, sqlite3.IntegrityError)
    assert not journal.close()
