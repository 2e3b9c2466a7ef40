"""What a journal held when it was last written, kept in a file beside it; so a loss is noticed.

SQLite takes a log whose end is damaged, or a file of no length, for a journal that holds less, and
says nothing. The checkpoint is at no moment ahead of the database: what it names was there once,
and what is not there at the next start has been lost.

Covers: the checkpoint file, the comparison, keeping damaged files. Does not cover: a file that
SQLite itself finds damaged (`schema`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from minispark.clock import wall_s
from minispark.journal.schema import SCHEMA_VERSION

_EVENTS_BETWEEN = 1_000
"""Events after which the file is written again where no job began or ended."""
_FORMAT = 1
_SHOWN_JOBS = 10


@dataclass(frozen=True, slots=True)
class RecordedState:
    """What a journal holds: the number of its last event, and its jobs with their status."""

    seq: int = 0
    master_epoch: int = 0
    jobs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JournalLoss:
    """What a journal held once and does not hold any more."""

    events: int = 0
    """How many of its last events."""
    jobs: tuple[str, ...] = ()
    """Jobs of which nothing is left."""
    ends: tuple[str, ...] = ()
    """Jobs that had ended, and of which only the beginning is left."""
    master_epoch: int = 0
    """The master's last life as it was noted."""
    kept: Path = Path()
    """Directory with the files as they were found."""

    def __str__(self) -> str:
        """Return one sentence for a log and for people."""
        parts = [
            *_count_words(self.jobs, "job is", "jobs are"),
            *_count_words(self.ends, "end of a job is", "ends of jobs are"),
            *([f"its last {self.events:,} events are lost"] if self.events > 0 else []),
        ]
        losses = "; ".join(parts) or "what it held is not known"
        return f"the journal was damaged: {losses}; the files as they were found are in {self.kept}"


def _count_words(jobs: tuple[str, ...], one: str, many: str) -> list[str]:
    if not jobs:
        return []
    more = f" and {len(jobs) - _SHOWN_JOBS} more" if len(jobs) > _SHOWN_JOBS else ""
    names = ", ".join(jobs[:_SHOWN_JOBS]) + more
    return [f"{len(jobs):,} {one if len(jobs) == 1 else many} lost ({names})"]


class Checkpoint:
    """Keeps the file up to date. From the writer's thread only, once that runs.

    A transaction says what it adds and removes (`will_hold`, `will_remove`); what it removes is
    written before its commit (`before_commit`), and what it adds after it (`committed`).
    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(f"{journal.stem}.checkpoint")
        self._master_epoch = 0
        self._seq = 0
        self._jobs: dict[str, str] = {}
        self._written_seq = 0
        self._new_seq = 0
        self._new_jobs: dict[str, str] = {}
        self._gone: list[str] = []
        self._last_seq: int | None = None

    def read(self) -> RecordedState | None:
        """Return what the file says; None where there is none that can be read."""
        try:
            checksum, _, text = self.path.read_bytes().partition(b"\n")[0].partition(b" ")
            if int(checksum, 16) != zlib.crc32(text):
                return None
            values = json.loads(text)
            if values["format"] != _FORMAT:
                return None
            jobs = {str(job): str(status) for job, status in values["jobs"].items()}
            return RecordedState(int(values["seq"]), int(values["master_epoch"]), jobs)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def begin(self, state: RecordedState) -> None:
        """Write what the database holds now."""
        self._seq, self._master_epoch = state.seq, state.master_epoch
        self._jobs = dict(state.jobs)
        self._write()

    def will_hold(self, *, seq: int = 0, job: str = "", status: str = "") -> None:
        """Note what the transaction at work adds."""
        self._new_seq = max(self._new_seq, seq)
        if job:
            self._new_jobs[job] = status

    def will_remove(self, job: str, *, seq: int) -> None:
        """Note that the transaction at work removes a job, and events after ``seq``."""
        self._new_jobs.pop(job, None)
        self._gone.append(job)
        self._new_seq = min(self._new_seq, seq)
        self._last_seq = seq

    def before_commit(self) -> None:
        """Name no more what the transaction at work removes."""
        removed = [job for job in self._gone if self._jobs.pop(job, None) is not None]
        fewer = self._last_seq is not None and self._last_seq < self._seq
        if self._last_seq is not None and fewer:
            self._seq = self._last_seq
        self._gone.clear()
        self._last_seq = None
        if removed or fewer:
            self._write()

    def committed(self) -> None:
        """Write what a transaction added, if a job is concerned or after many events."""
        self._seq = max(self._seq, self._new_seq)
        self._new_seq = 0
        self._jobs.update(self._new_jobs)
        changed = bool(self._new_jobs)
        self._new_jobs.clear()
        if changed or self._seq - self._written_seq >= _EVENTS_BETWEEN:
            self._write()

    def close(self) -> None:
        """Write the last state."""
        self._write()

    def _write(self) -> None:
        values = {
            "format": _FORMAT,
            "seq": self._seq,
            "master_epoch": self._master_epoch,
            "jobs": self._jobs,
        }
        text = json.dumps(values).encode()
        line = f"{zlib.crc32(text):08x} ".encode() + text + b"\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags, 0o600)
            try:
                # In place: its checksum tells a line that was cut from a whole one.
                if os.pwrite(descriptor, line, 0) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.ftruncate(descriptor, len(line))
            finally:
                os.close(descriptor)
            self._written_seq = self._seq
        except OSError:
            # A full disk: an old file might name what the database holds no more.
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def last_seq(db: sqlite3.Connection) -> int:
    """Return the number of a database's last event."""
    (seq,) = db.execute(
        # Numbers go on beyond a snapshot even where it is all that is left.
        "SELECT max((SELECT coalesce(max(seq), 0) FROM events), "
        "(SELECT coalesce(max(seq), 0) FROM snapshots))"
    ).fetchone()
    return int(seq)


def read_state(db: sqlite3.Connection) -> RecordedState:
    """Return what a database holds."""
    epoch = db.execute("SELECT value FROM meta WHERE name = 'master_epoch'").fetchone()
    jobs = dict(db.execute("SELECT job, status FROM jobs").fetchall())
    return RecordedState(last_seq(db), 0 if epoch is None else int(epoch[0]), jobs)


def inspect(journal: Path, *, thorough: bool) -> RecordedState | None:
    """Return what a journal holds without writing to any of its files.

    None for one of another version, which is brought to this one or refused (`schema`).
    ``thorough`` looks at all pages: a log that was damaged leaves some of two different times.
    """
    if not has_bytes(journal):
        return RecordedState()
    uri = f"{journal.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
        if thorough:
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                error = sqlite3.DatabaseError(verdict)
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise error
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            return RecordedState()  # No table was made yet.
        return read_state(db) if version == SCHEMA_VERSION else None


def has_bytes(file: Path) -> bool:
    """Whether there is such a file and something in it."""
    return file.exists() and file.stat().st_size > 0


def compare(expected: RecordedState, actual: RecordedState) -> JournalLoss | None:
    """Return what is expected and not found, None where all is there."""
    jobs = tuple(job for job in expected.jobs if job not in actual.jobs)
    ends = tuple(
        job
        for job, status in expected.jobs.items()
        if job in actual.jobs and actual.jobs[job] == "ACCEPTED" != status
    )
    events = max(0, expected.seq - actual.seq)
    if not (jobs or ends or events or expected.master_epoch > actual.master_epoch):
        return None
    return JournalLoss(events, jobs, ends, expected.master_epoch)


def keep_files(journal: Path) -> Path:
    """Copy a journal's files into a new directory beside it, and return that.

    Raises
    ------
    OSError
        They cannot be copied.
    """
    at = datetime.fromtimestamp(wall_s(), UTC).strftime("%Y%m%dT%H%M%SZ")
    number = 1
    while True:
        name = f"damaged-{at}" if number == 1 else f"damaged-{at}-{number}"
        directory = journal.with_name(name)
        try:
            directory.mkdir(mode=0o700)
            break
        except FileExistsError:
            number += 1
    for suffix in ("", "-wal", "-shm"):
        file = journal.with_name(f"{journal.name}{suffix}")
        if file.exists():
            shutil.copy2(file, directory / file.name)
    checkpoint = Checkpoint(journal).path
    if checkpoint.exists():
        shutil.copy2(checkpoint, directory / checkpoint.name)
    return directory
