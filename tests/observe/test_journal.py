from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.observe.journal import Journal


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
            assert self._changed.wait_for(lambda: self.number >= number, timeout=10)


def test_what_is_durable_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    durable = Durable()
    journal = Journal(path)
    journal.set_meta("cluster", "abcd")
    journal.start(durable)
    journal.job_accepted("j1", {"plan": b"\x00\xff"}, name="one", at=1.0, idempotency_key="k")
    journal.event("task_failed", {"key": TaskKey("j1", 0, 0, 0, 0)}, job="j1", at=2.0)
    number = journal.job_ended("j1", {"view": 1}, status="SUCCEEDED", at=3.0)
    journal.job_accepted("j2", {}, name="two", at=4.0)
    durable.wait(number)
    (event,) = journal.read_events("j1")
    assert event.kind == "task_failed"
    assert event.payload["key"]["job"] == "j1"
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


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UsageError, match="another version"):
        Journal(path)


def test_a_write_that_fails_is_said(tmp_path: Path) -> None:
    durable = Durable()
    journal = Journal(tmp_path / "journal.db")
    journal.start(durable)
    journal.job_accepted("j1", {}, name="one", at=1.0)
    durable.wait(journal.job_accepted("j1", {}, name="twice", at=1.0))
    assert isinstance(journal.failure, sqlite3.IntegrityError)
    journal.close()
