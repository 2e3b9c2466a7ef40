"""A file beside the journal that names its last content, so that a loss is noticed.

SQLite opens a log with a damaged end, or an empty file, as a journal with less content, without an
error. The checkpoint is never ahead of the database: everything that it names was durable once, so
what the database does not have at the next start is lost.

Covers: the checkpoint file, the comparison, copies of damaged files. Does not cover: a file that
SQLite itself reports as damaged (`schema`).
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
"""Events after which the file is written again if no job began or ended."""
_FORMAT = 1
_SHOWN_JOBS = 10


@dataclass(frozen=True, slots=True)
class RecordedState:
    """The content of a journal: the number of its last event, and its jobs with their status."""

    seq: int = 0
    master_epoch: int = 0
    jobs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JournalLoss:
    """The lost content of a journal."""

    events: int = 0
    """Number of lost events, at the end of the journal."""
    jobs: tuple[str, ...] = ()
    """Jobs that are lost."""
    ends: tuple[str, ...] = ()
    """Jobs whose end is lost."""
    master_epoch: int = 0
    """The last epoch of the master in the checkpoint."""
    directory: Path = Path()
    """Directory with copies of the damaged files."""

    def __str__(self) -> str:
        """Return the loss as one sentence."""
        parts = [
            *_count_words(self.jobs, "job is", "jobs are"),
            *_count_words(self.ends, "end of a job is", "ends of jobs are"),
            *([f"its last {self.events:,} events are lost"] if self.events > 0 else []),
        ]
        losses = "; ".join(parts) or "its contents are unknown"
        copies = f"copies of the damaged files are in {self.directory}"
        return f"the journal was damaged: {losses}; {copies}"


def _count_words(jobs: tuple[str, ...], one: str, many: str) -> list[str]:
    if not jobs:
        return []
    more = f" and {len(jobs) - _SHOWN_JOBS} more" if len(jobs) > _SHOWN_JOBS else ""
    names = ", ".join(jobs[:_SHOWN_JOBS]) + more
    return [f"{len(jobs):,} {one if len(jobs) == 1 else many} lost ({names})"]


class Checkpoint:
    """The checkpoint file of a journal. Only the writer's thread may call it, once that runs.

    A transaction announces its additions and removals (`will_add`, `will_remove`). Removals are
    written before its commit (`before_commit`), additions after it (`committed`).
    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(f"{journal.stem}.checkpoint")
        self._master_epoch = 0
        self._seq = 0
        self._jobs: dict[str, str] = {}
        self._written_seq = 0
        self._new_seq = 0
        self._new_jobs: dict[str, str] = {}
        self._removed: list[str] = []
        self._last_seq: int | None = None

    def read(self) -> RecordedState | None:
        """Return the recorded state, None if there is no readable file."""
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
        """Write the present state of the database."""
        self._seq, self._master_epoch = state.seq, state.master_epoch
        self._jobs = dict(state.jobs)
        self._write()

    def will_add(self, *, seq: int = 0, job: str = "", status: str = "") -> None:
        """Note an addition of the current transaction."""
        self._new_seq = max(self._new_seq, seq)
        if job:
            self._new_jobs[job] = status

    def will_remove(self, job: str, *, seq: int) -> None:
        """Note that the current transaction removes a job, and events after ``seq``."""
        self._new_jobs.pop(job, None)
        self._removed.append(job)
        self._new_seq = min(self._new_seq, seq)
        self._last_seq = seq

    def before_commit(self) -> None:
        """Write the removals of the current transaction."""
        removed = [job for job in self._removed if self._jobs.pop(job, None) is not None]
        last = self._seq if self._last_seq is None else min(self._seq, self._last_seq)
        fewer, self._seq = last < self._seq, last
        self._removed.clear()
        self._last_seq = None
        if removed or fewer:
            self._write()

    def committed(self) -> None:
        """Write the additions of a transaction, if it changed a job or after many events."""
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
                # In place, as the checksum detects a line that was written in part.
                if os.pwrite(descriptor, line, 0) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.ftruncate(descriptor, len(line))
            finally:
                os.close(descriptor)
            self._written_seq = self._seq
        except OSError:
            # For example a full disk: an old file may name rows that were removed since.
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def last_seq(db: sqlite3.Connection) -> int:
    """Return the number of a database's last event."""
    (seq,) = db.execute(
        # Numbers continue after a snapshot even if no event is left.
        "SELECT max((SELECT coalesce(max(seq), 0) FROM events), "
        "(SELECT coalesce(max(seq), 0) FROM snapshots))"
    ).fetchone()
    return int(seq)


def read_state(db: sqlite3.Connection) -> RecordedState:
    """Return the state of a database."""
    epoch = db.execute("SELECT value FROM meta WHERE name = 'master_epoch'").fetchone()
    jobs = dict(db.execute("SELECT job, status FROM jobs").fetchall())
    return RecordedState(last_seq(db), 0 if epoch is None else int(epoch[0]), jobs)


def inspect(journal: Path, *, thorough: bool) -> RecordedState | None:
    """Return the state of a journal without writing to any of its files.

    None for a journal of another version, which `schema` migrates or refuses. ``thorough`` checks
    all pages: after a damaged log some may be older than others.
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
            return RecordedState()  # It has no tables yet.
        return read_state(db) if version == SCHEMA_VERSION else None


def has_bytes(file: Path) -> bool:
    """Whether a file exists and is not empty."""
    return file.exists() and file.stat().st_size > 0


def compare(expected: RecordedState, actual: RecordedState) -> JournalLoss | None:
    """Return what is expected and missing, None if nothing is."""
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


def copy_files(journal: Path) -> Path:
    """Copy a journal's files into a new directory beside it, and return the directory.

    Raises
    ------
    OSError
        A file cannot be copied.
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
