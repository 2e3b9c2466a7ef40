"""A disk that is full and a database that is locked: nothing is lost, and it goes on by itself."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

import pytest

from minispark.errors import MinisparkError
from minispark.journal.journal import Journal
from minispark.settings import JournalSettings

HASTY = JournalSettings(busy_s=0.01, retry_first_s=0.01, retry_last_s=0.05, close_s=0.1)


class Watcher:
    """Takes what the writer says, and waits for it."""

    def __init__(self, path: Path, settings: JournalSettings = HASTY) -> None:
        self.journal = Journal(path, settings)
        self.durable = 0
        self.troubles: list[str | None] = []
        self._changed = threading.Condition()
        self.journal.start(self._on_durable, self._on_trouble)

    def _on_durable(self, number: int) -> None:
        with self._changed:
            self.durable = number
            self._changed.notify_all()

    def _on_trouble(self) -> None:
        with self._changed:
            self.troubles.append(self.journal.trouble)
            self._changed.notify_all()

    def wait_durable(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.durable >= number, timeout=60)

    def wait_troubles(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.troubles) >= count, timeout=60)


def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    watcher = Watcher(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    numbers = [watcher.journal.event("x", n, job="j", at=0.0) for n in range(3)]
    watcher.wait_troubles(1)
    assert watcher.troubles == ["database is locked"]
    assert watcher.journal.trouble == "database is locked"
    assert (watcher.durable, watcher.journal.failure) == (0, None)
    other.execute("ROLLBACK")
    other.close()
    watcher.wait_durable(numbers[-1])
    assert watcher.troubles == ["database is locked", None]
    assert [row.payload for row in watcher.journal.read_events("j")] == ["0", "1", "2"]
    assert watcher.journal.close()


def test_closing_does_not_wait_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    watcher = Watcher(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    watcher.journal.event("x", {}, job="j", at=0.0)
    watcher.wait_troubles(1)
    assert not watcher.journal.close()
    other.close()
    again = Journal(path)
    assert again.read_events("j") == []
    again.close()


def test_what_may_wait_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    watcher = Watcher(path, JournalSettings(busy_s=0.01, retry_first_s=0.01, queue=5))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for n in range(4):
        watcher.journal.event("x", n, job="j", at=0.0)
    assert not watcher.journal.behind
    last = watcher.journal.event("x", 4, job="j", at=0.0)
    assert watcher.journal.behind
    other.close()
    watcher.wait_durable(last)
    assert not watcher.journal.behind
    assert watcher.journal.close()


def test_a_journal_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Journal(path).close()
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(MinisparkError, match="not a database") as caught:
        Journal(path)
    assert caught.value.info.code == "MS-118"


FULL = """
import resource, sys, threading
from pathlib import Path
from minispark.journal.journal import Journal
from minispark.settings import JournalSettings

path = Path(sys.argv[1])
said, over, last = threading.Event(), threading.Event(), threading.Event()
journal = Journal(path, JournalSettings(retry_first_s=0.01, retry_last_s=0.05))
wanted = 200

def on_durable(number):
    if number == wanted:
        last.set()

journal.start(on_durable, lambda: (said if journal.trouble else over).set())
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
for number in range(wanted):
    journal.event("x", {"number": number, "text": "x" * 10_000}, job="j", at=0.0)
assert said.wait(60), "the disk was never full"
print(journal.trouble)
assert not last.is_set()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert over.wait(60) and last.wait(60), "it did not go on"
assert journal.failure is None and journal.close()
again = Journal(path)
assert [row.seq for row in again.read_events("j")] == list(range(1, wanted + 1))
again.close()
"""


@pytest.mark.process
def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """No file of the child may grow beyond a limit, until the limit is lifted."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "journal.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("disk I/O error", "database or disk is full")


@pytest.mark.parametrize("level", ["NORMAL", "FULL"])
def test_what_must_outlive_a_power_cut_is_synced(
    tmp_path: Path, level: Literal["NORMAL", "FULL"]
) -> None:
    journal = Journal(tmp_path / "journal.db", JournalSettings(synchronous=level))
    said: list[str] = []
    journal._db.set_trace_callback(said.append)
    journal.start(lambda _number: None)
    journal.job_accepted("j", {}, name="one", at=0.0)
    assert journal.close()
    levels = [line.rsplit(" ", 1)[1] for line in said if "synchronous" in line]
    assert levels == (["NORMAL", "FULL", "NORMAL"] if level == "NORMAL" else ["FULL"])
