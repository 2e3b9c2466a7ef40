"""The journal: what happened, durable, in one SQLite file.

Covers: writing from one thread in batches, reading it back, schema versions. Does not cover:
what a restarted master makes of it (`minispark.master`).

Whoever writes gets a number at once and is told, from the writer's thread, up to which number
everything is durable; it carries nothing out before. Durable means: survives the death of this
process (WAL, ``synchronous=NORMAL``); a power cut may cost the last moments, never the file.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from minispark.errors import UsageError

__all__ = ["Journal", "JournalEvent", "StoredJob"]

SCHEMA_VERSION = 1
_BATCH = 1_000
"""Writes of one transaction: bounds the time until the first of them is durable."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    job TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    submitted_at REAL NOT NULL,
    finished_at REAL,
    idempotency_key TEXT,
    graph TEXT NOT NULL,
    outcome TEXT
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    job TEXT NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX events_of_job ON events (job, seq);
"""

Row = tuple[Any, ...]
Write = tuple[str, Callable[[], Row]]


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job as the journal has it. ``outcome`` is None for one that had not ended."""

    job: str
    name: str
    status: str
    submitted_at: float
    finished_at: float | None
    idempotency_key: str | None
    graph: str
    outcome: str | None


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One line of the journal."""

    seq: int
    job: str
    kind: str
    at: float
    payload: dict[str, Any]


class Journal:
    """One SQLite file with one writer thread. Open it once per process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: sqlite3.Error | None = None
        self._db = _open(path)
        self._queue: queue.SimpleQueue[tuple[int, Write] | None] = queue.SimpleQueue()
        self._number = 0
        self._on_durable: Callable[[int], None] = lambda _number: None
        self._writer: threading.Thread | None = None

    def meta(self, name: str) -> str | None:
        """Read a named value. Before `start` only."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Write a named value at once. Before `start` only."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def jobs(self) -> list[StoredJob]:
        """Return all jobs, oldest first. Before `start` only."""
        rows = self._db.execute(
            "SELECT job, name, status, submitted_at, finished_at, idempotency_key, graph, outcome "
            "FROM jobs ORDER BY number"
        )
        return [StoredJob(*row) for row in rows]

    def prune(self) -> None:
        """Delete the events that belong to no job. Before `start` only."""
        with self._db:
            self._db.execute("DELETE FROM events WHERE job NOT IN (SELECT job FROM jobs)")

    def start(self, on_durable: Callable[[int], None]) -> None:
        """Start the writer; ``on_durable(number)`` is called in its thread after each batch.

        When writing fails it is called too, with `failure` set: nothing is durable any more.
        """
        self._on_durable = on_durable
        self._writer = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """Write what is queued and close the file."""
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
        self._db.close()

    @property
    def number(self) -> int:
        """Number of the last write asked for."""
        return self._number

    def event(self, kind: str, payload: object, *, job: str, at: float) -> int:
        """Append an event; its payload (never changed afterwards) is encoded by the writer."""
        return self._put(
            "INSERT INTO events (job, kind, at, payload) VALUES (?, ?, ?, ?)",
            lambda: (job, kind, at, _json(payload)),
        )

    def job_accepted(
        self, job: str, graph: object, *, name: str, at: float, idempotency_key: str | None = None
    ) -> int:
        """Add a job."""
        return self._put(
            "INSERT INTO jobs (job, name, status, submitted_at, idempotency_key, graph) "
            "VALUES (?, ?, 'ACCEPTED', ?, ?, ?)",
            lambda: (job, name, at, idempotency_key, _json(graph)),
        )

    def job_ended(self, job: str, outcome: object, *, status: str, at: float) -> int:
        """Note how a job ended, with all that is shown of it."""
        return self._put(
            "UPDATE jobs SET status = ?, finished_at = ?, outcome = ? WHERE job = ?",
            lambda: (status, at, _json(outcome), job),
        )

    def job_forgotten(self, job: str) -> int:
        """Delete a job and its events."""
        self._put("DELETE FROM events WHERE job = ?", lambda: (job,))
        return self._put("DELETE FROM jobs WHERE job = ?", lambda: (job,))

    def read_events(self, job: str, *, after: int = 0, limit: int = 1_000) -> list[JournalEvent]:
        """Return durable events of a job in order, on a connection of its own."""
        db = sqlite3.connect(self.path)
        try:
            rows = db.execute(
                "SELECT seq, job, kind, at, payload FROM events "
                "WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?",
                (job, after, limit),
            ).fetchall()
        finally:
            db.close()
        return [
            JournalEvent(seq, job, kind, at, json.loads(payload))
            for seq, job, kind, at, payload in rows
        ]

    def _put(self, sql: str, row: Callable[[], Row]) -> int:
        self._number += 1
        self._queue.put((self._number, (sql, row)))
        return self._number

    def _write_all(self) -> None:
        for batch in self._batches():
            if self.failure is None:
                try:
                    with self._db:
                        for _, (sql, row) in batch:
                            self._db.execute(sql, row())
                except sqlite3.Error as error:
                    self.failure = error
            self._on_durable(batch[-1][0])

    def _batches(self) -> Iterator[list[tuple[int, Write]]]:
        """Yield what is queued, as one batch, until told to end."""
        ended = False
        while not ended:
            item = self._queue.get()
            batch: list[tuple[int, Write]] = []
            while item is not None:
                batch.append(item)
                if len(batch) == _BATCH or self._queue.empty():
                    break
                item = self._queue.get()
            ended = item is None
            if batch:
                yield batch


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    path.chmod(0o600)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found == 0:
        with db:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif found != SCHEMA_VERSION:
        db.close()
        msg = f"{path} was written by another version of Mini-Spark (its schema is {found})"
        raise UsageError(
            msg,
            code="MS-115",
            file=str(path),
            hint="Use that version, or name a new state directory with --state-dir.",
        )
    return db


def _json(value: object) -> str:
    return to_json(value, bytes_mode="base64").decode()
