"""Journals that were damaged: what they held is known, and nothing goes silently."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from minispark.errors import MinisparkError
from minispark.journal import checkpoint
from minispark.journal import journal as journal_module
from minispark.journal.checkpoint import Checkpoint
from minispark.journal.journal import Journal
from minispark.settings import JournalSettings

FILES = ("journal.db", "journal.db-wal", "journal.checkpoint")


def left_by_a_killed_master(tmp_path: Path, jobs: int = 6) -> Path:
    """Return a state directory as a killed master leaves it: all is in the log."""
    state, left = tmp_path / "state", tmp_path / "left"
    state.mkdir()
    left.mkdir()
    journal = Journal(state / "journal.db")
    journal.set_meta("master_epoch", "4")
    journal.start(lambda _number: None)
    for number in range(jobs):
        journal.job_accepted(f"j{number}", {"plan": "x" * 2_000}, name="one", at=1.0)
        journal.event("x", {"text": "y" * 2_000}, job=f"j{number}", at=1.0)
        journal.job_ended(f"j{number}", {"view": 1}, status="SUCCEEDED", at=2.0)
    journal._writer.close()  # Not the database, which would empty its log.
    for name in FILES:
        shutil.copy(state / name, left / name)
    journal._db.close()
    return left


def jobs_of(journal: Journal) -> set[str]:
    return {job.job for job in journal.jobs() if job.outcome is not None}


def test_what_a_killed_master_leaves_is_whole(tmp_path: Path) -> None:
    left = left_by_a_killed_master(tmp_path)
    journal = Journal(left / "journal.db")
    assert journal.loss is None
    assert len(jobs_of(journal)) == 6
    journal.close()
    assert sorted(path.name for path in left.iterdir()) == ["journal.checkpoint", "journal.db"]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("how", ["random", "cut", "zeros"])
def test_a_log_whose_end_is_damaged_says_what_is_lost(
    tmp_path: Path, how: str, share: float
) -> None:
    left = left_by_a_killed_master(tmp_path)
    wal = left / "journal.db-wal"
    whole = wal.read_bytes()
    place = int(len(whole) * share)
    rest = {
        "random": random.Random(place).randbytes(len(whole) - place),
        "zeros": bytes(len(whole) - place),
        "cut": b"",
    }[how]
    wal.write_bytes(whole[:place] + rest)
    damaged = wal.read_bytes()
    try:
        journal = Journal(left / "journal.db")
    except MinisparkError as error:
        assert error.info.code == "MS-118"
        return
    loss = journal.loss
    assert loss is not None
    assert jobs_of(journal).isdisjoint({*loss.jobs, *loss.ends})
    assert len(jobs_of(journal)) + len(loss.jobs) + len(loss.ends) == 6
    assert (loss.directory / "journal.db-wal").read_bytes() == damaged
    assert loss.directory.parent == left
    assert loss.directory.stat().st_mode & 0o777 == 0o700
    assert str(loss.directory) in str(loss)
    assert loss.jobs + loss.ends == () or (loss.jobs + loss.ends)[0] in str(loss)
    journal.close()
    again = Journal(left / "journal.db")
    assert again.loss is None
    again.close()


@pytest.mark.parametrize("how", ["no length", "removed", "no checkpoint", "only the log"])
def test_a_file_of_no_length_is_no_new_journal(tmp_path: Path, how: str) -> None:
    left = left_by_a_killed_master(tmp_path)
    (left / "journal.db").unlink() if how == "removed" else (left / "journal.db").write_bytes(b"")
    if how == "only the log":
        (left / "journal.checkpoint").unlink()
    if how == "no checkpoint":
        (left / "journal.db-wal").unlink()
    before = {path.name: path.read_bytes() for path in left.iterdir()}
    journal = Journal(left / "journal.db")
    loss = journal.loss
    assert loss is not None
    if how == "only the log":
        assert "its contents are unknown" in str(loss)
    else:
        assert loss.jobs == tuple(f"j{number}" for number in range(6))
        assert loss.events == 6
        assert loss.master_epoch == 4
        assert "6 jobs are lost (j0, j1, j2, j3, j4, j5); its last 6 events" in str(loss)
    assert {path.name: path.read_bytes() for path in loss.directory.iterdir()} == before
    assert journal.jobs() == []
    journal.close()


def test_a_journal_of_an_earlier_version_has_lost_nothing(tmp_path: Path) -> None:
    left = left_by_a_killed_master(tmp_path)
    with sqlite3.connect(left / "journal.db") as db:
        db.executescript(
            "DROP TABLE news; ALTER TABLE jobs DROP COLUMN origin; "
            "ALTER TABLE jobs DROP COLUMN source; PRAGMA user_version = 2;"
        )
    journal = Journal(left / "journal.db")
    assert journal.loss is None
    assert len(jobs_of(journal)) == 6
    journal.close()


def test_a_new_journal_has_lost_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    assert journal.loss is None
    journal.close()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "journal.db").touch()  # As a first start leaves it that was cut short.
    journal = Journal(tmp_path / "empty" / "journal.db")
    assert journal.loss is None
    journal.close()


@pytest.mark.parametrize("clean", [True, False])
def test_a_malformed_database_is_refused_with_what_to_do(tmp_path: Path, clean: bool) -> None:
    left = left_by_a_killed_master(tmp_path, jobs=200)
    if clean:
        Journal(left / "journal.db").close()
    else:
        with sqlite3.connect(left / "journal.db") as db:
            db.execute("PRAGMA wal_checkpoint(FULL)")
            shutil.copy(left / "journal.db", tmp_path / "journal.db")
            shutil.copy(left / "journal.db-wal", tmp_path / "journal.db-wal")
        for name in FILES[:2]:
            shutil.copy(tmp_path / name, left / name)
    database = left / "journal.db"
    whole = database.read_bytes()
    # Its first page holds the tables: those can be read.
    database.write_bytes(whole[:4096] + random.Random(7).randbytes(len(whole) - 4096))
    if not clean:
        wal = left / "journal.db-wal"
        wal.write_bytes(wal.read_bytes()[:20_000])
    before = database.read_bytes()
    with pytest.raises(MinisparkError, match="is damaged: ") as caught:
        Journal(database).jobs()
    assert caught.value.info.code == "MS-118"
    assert ".recover" in (caught.value.info.hint or "")
    assert database.read_bytes() == before


def test_nothing_is_lost_wherever_a_master_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State directories as they are right before and after each change of the checkpoint."""
    states: list[Path] = []
    state = tmp_path / "state"
    state.mkdir()

    def kept_around(name: str) -> None:
        original: Callable[..., None] = getattr(Checkpoint, name)

        def call(self: Checkpoint, *args: object, **options: object) -> None:
            keep()
            original(self, *args, **options)
            keep()

        monkeypatch.setattr(Checkpoint, name, call)

    def keep() -> None:
        states.append(tmp_path / f"copy-{len(states)}")
        shutil.copytree(state, states[-1])

    monkeypatch.setattr(checkpoint, "_EVENTS_BETWEEN", 3)
    with monkeypatch.context():
        for name in ("committed", "before_commit"):
            kept_around(name)
        journal = Journal(state / "journal.db", JournalSettings(batch=2))
        numbers: list[int] = []
        journal.start(numbers.append)
        for number in range(12):
            journal.job_accepted(f"j{number}", {}, name="", at=0.0)
            with journal.together():
                for _ in range(3):
                    journal.event("x", {}, job=f"j{number}", at=0.0)
            journal.job_ended(f"j{number}", {}, status="FAILED", at=0.0)
            if number % 4 == 3:
                journal.snapshot({}, version=1, now=0.0, at=0.0)
            if number >= 3:
                journal.job_forgotten(f"j{number - 3}")
        assert journal.close()
    monkeypatch.undo()
    assert len(states) > 20
    for left in states:
        again = Journal(left / "journal.db")
        assert again.loss is None, left
        again.close()


def test_a_checkpoint_that_cannot_be_written_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.start(lambda _number: None)
    monkeypatch.setattr("minispark.journal.checkpoint.os.pwrite", _no_space)
    journal.job_accepted("j1", {}, name="", at=0.0)
    journal.job_forgotten("j1")
    assert journal.close()
    monkeypatch.undo()
    again = Journal(tmp_path / "journal.db")
    assert again.loss is None
    again.close()


@pytest.mark.parametrize("text", [b"", b"{}", b"00000000 {}\n", b"zz", b"\xff\xff"])
def test_a_checkpoint_that_cannot_be_read_claims_nothing(tmp_path: Path, text: bytes) -> None:
    left = left_by_a_killed_master(tmp_path)
    (left / "journal.checkpoint").write_bytes(text)
    journal = Journal(left / "journal.db")
    assert journal.loss is None
    assert len(jobs_of(journal)) == 6
    journal.close()
    assert Checkpoint(left / "journal.db").read() is not None


def test_a_checkpoint_that_was_cut_claims_nothing(tmp_path: Path) -> None:
    left = left_by_a_killed_master(tmp_path)
    file = left / "journal.checkpoint"
    whole = file.read_bytes()
    assert Checkpoint(left / "journal.db").read() is not None
    for place in range(0, len(whole) - 1, 7):
        file.write_bytes(whole[:place])
        assert Checkpoint(left / "journal.db").read() is None
    # A shorter line over a longer one, whose end was not cut off yet.
    file.write_bytes(whole + b"the rest of a longer line")
    assert Checkpoint(left / "journal.db").read() is not None


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_damaged_files_that_cannot_be_kept_are_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = left_by_a_killed_master(tmp_path)
    wal = left / "journal.db-wal"
    wal.write_bytes(wal.read_bytes()[:20_000])
    monkeypatch.setattr(journal_module, "copy_files", _no_space)
    with pytest.raises(MinisparkError, match="cannot be kept") as caught:
        Journal(left / "journal.db")
    assert caught.value.info.code == "MS-117"
    monkeypatch.undo()
    journal = Journal(left / "journal.db")
    assert journal.loss is not None
    journal.close()
