"""The journal: events and decisions, durable, in one SQLite file.

Covers: writing and reading. Does not cover: the writer's thread (`writer_thread`), tables and
versions (`schema`), restoring a master from it (`minispark.master.recovery`).

A write returns its number at once; a call from the writer's thread then says up to which number all
writes are durable. The master carries a command out only when its row is durable. Durable rows
survive the end of this process. How many a power cut may lose is a setting
(`JournalSettings.synchronous`); it never loses the file, an accepted job or a commit.

See also: ``docs/restarts.md``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic_core import to_json

from minispark.errors import MinisparkError
from minispark.journal.checkpoint import (
    Checkpoint,
    JournalLoss,
    RecordedState,
    compare,
    copy_files,
    has_bytes,
    inspect,
    last_seq,
    read_state,
)
from minispark.journal.cluster_event import ClusterEvent, prune_news, write_news
from minispark.journal.schema import journal_error, open_database, transaction
from minispark.journal.writer_thread import WriterThread
from minispark.settings import JournalSettings

TOTALS = "totals"
"""Name in `Journal.meta` of the totals over deleted jobs."""

_EVENT = "seq, job, kind, at, now, payload, commands"
_NUMBERS = (
    # Each half is read in order from its index, so a page costs only its own length.
    "SELECT seq FROM (SELECT seq FROM events WHERE job = :job AND seq > :after "
    "ORDER BY seq LIMIT :limit) UNION SELECT seq FROM (SELECT seq FROM mentions "
    "WHERE job = :job AND seq > :after ORDER BY seq LIMIT :limit)"
)
_PRUNE = (
    "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT 2)",
    "DELETE FROM mentions WHERE job NOT IN (SELECT job FROM jobs)",
    # A replay does not need events before a snapshot, but the history of a job does.
    "DELETE FROM events WHERE seq <= (SELECT min(seq) FROM snapshots) "
    "AND job NOT IN (SELECT job FROM jobs) AND seq NOT IN (SELECT seq FROM mentions)",
)
_FREE_PAGES = 10_000
"""Pages (of 4 KiB) returned to the disk after a snapshot: a limit to the time of that."""


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job in the journal. ``outcome`` is None if the job has not ended."""

    job: str
    name: str
    status: str
    submitted_at: float
    finished_at: float | None
    idempotency_key: str | None
    graph: str
    outcome: str | None
    staging: str | None
    """Directories (JSON) that may have staged files of it."""
    origin: str | None
    """Who submitted it (JSON); None for a job of an earlier version."""


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One event in the journal; ``payload`` and ``commands`` are JSON."""

    seq: int
    job: str
    kind: str
    at: float
    now: float | None
    """The scheduler's time; None if the event was no step of the scheduler."""
    payload: str
    commands: str | None
    """The decisions of the step."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The scheduler after the event ``seq``, written by version ``version`` of the scheduler."""

    seq: int
    version: int
    now: float
    state: str


class Journal:
    """One SQLite file with one writer thread. Open it once per process.

    Raises
    ------
    UsageError
        A later version of Mini-Spark wrote the file.
    MinisparkError
        The file cannot be read or written, or is damaged; or damaged files cannot be copied.

    ``loss`` is the content that the file had when it was last written, and has not any more.
    """

    def __init__(self, path: Path, settings: JournalSettings | None = None) -> None:
        self.path = path
        settings = settings or JournalSettings()
        self._checkpoint = Checkpoint(path)
        self.loss = _find_loss(path, self._checkpoint.read())
        self._db = open_database(path, settings)
        state = read_state(self._db)
        self._checkpoint.begin(state)
        self._writer = WriterThread(
            self._db,
            settings,
            before_commit=self._checkpoint.before_commit,
            on_commit=self._checkpoint.committed,
        )
        self._seq = state.seq

    # Before `start` only.

    def meta(self, name: str) -> str | None:
        """Read a named value."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Write a named value at once; a power cut does not undo it."""
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
        self._checkpoint.begin(read_state(self._db))

    def jobs(self) -> list[StoredJob]:
        """Return all jobs, oldest first."""
        rows = self._db.execute(
            "SELECT job, name, status, submitted_at, finished_at, idempotency_key, graph, "
            "outcome, staging, origin FROM jobs ORDER BY number"
        )
        return [StoredJob(*row) for row in rows]

    def last_snapshot(self) -> Snapshot | None:
        """Return the newest snapshot."""
        row = self._db.execute(
            "SELECT seq, version, now, state FROM snapshots ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        return None if row is None else Snapshot(*row)

    def replay(self, *, after: int, jobs: Collection[str]) -> Iterator[JournalEvent]:
        """Yield, in order, the events after a snapshot and all events of these jobs."""
        self._db.execute("CREATE TEMP TABLE wanted (job TEXT PRIMARY KEY) WITHOUT ROWID")
        try:
            self._db.executemany("INSERT INTO wanted VALUES (?)", ((job,) for job in jobs))
            rows = self._db.execute(
                f"SELECT {_EVENT} FROM events WHERE seq > ? OR job IN wanted OR seq IN "  # noqa: S608
                "(SELECT seq FROM mentions WHERE job IN wanted) ORDER BY seq",
                (after,),
            )
            for row in rows:
                yield JournalEvent(*row)
        finally:
            self._db.execute("DROP TABLE wanted")

    # The writer.

    def start(
        self, on_durable: Callable[[int], None], on_trouble: Callable[[], None] = lambda: None
    ) -> None:
        """Start the writer's thread, which makes both calls.

        ``on_durable(number)`` is called after each batch. ``on_trouble()`` is called when writes
        begin to fail (`trouble`), when they work again (`trouble` is None), and when they have
        failed for good (`failure`): no later write becomes durable then.
        """
        self._writer.start(on_durable, on_trouble)

    def close(self) -> bool:
        """Write the queue and close the file; return False if a write has failed."""
        written = self._writer.close()
        self._checkpoint.close()
        self._db.close()
        return written

    @property
    def failure(self) -> Exception | None:
        """Why no write can work again."""
        return self._writer.failure

    @property
    def trouble(self) -> str | None:
        """Why writes fail at the moment."""
        return self._writer.trouble

    @property
    def behind(self) -> bool:
        """Whether more writes wait for the disk than the limit."""
        return self._writer.behind

    @property
    def number(self) -> int:
        """Number of the last queued write."""
        return self._writer.number

    @property
    def seq(self) -> int:
        """Number of the last event."""
        return self._seq

    def together(self) -> AbstractContextManager[None]:
        """Queue all writes of the block at once; for the steps of one message."""
        return self._writer.together()

    # Writes. The writer's thread encodes the values later, so nothing may change them.

    def event(
        self,
        kind: str,
        payload: object,
        *,
        job: str,
        at: float,
        now: float | None = None,
        commands: object = None,
        mentions: Collection[str] = (),
        synced: bool = False,
    ) -> int:
        """Append an event; ``mentions`` are the other jobs for which it decided something."""
        self._seq += 1
        seq = self._seq

        def write(db: sqlite3.Connection) -> None:
            decided = None if commands is None else _json(commands)
            db.execute(
                f"INSERT INTO events ({_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (seq, job, kind, at, now, _json(payload), decided),
            )
            if mentions:
                db.executemany("INSERT INTO mentions VALUES (?, ?)", ((m, seq) for m in mentions))
            self._checkpoint.will_add(seq=seq)

        return self._writer.put(write, synced=synced)

    def news(self, lines: Collection[ClusterEvent], *, at: float) -> int:
        """Append events of the cluster."""
        return self._writer.put(lambda db: write_news(db, lines, at=at))

    def snapshot(self, state: object, *, version: int, now: float, at: float) -> int:
        """Write a snapshot of the scheduler after the last event; delete unneeded rows."""
        seq = self._seq

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)",
                (seq, version, now, at, _json(state)),
            )
            for statement in _PRUNE:
                db.execute(statement)
            prune_news(db)
            db.execute(f"PRAGMA incremental_vacuum({_FREE_PAGES})").fetchall()

        return self._writer.put(write)

    def job_accepted(
        self,
        job: str,
        graph: object,
        *,
        name: str,
        at: float,
        idempotency_key: str | None = None,
        staging: Collection[str] = (),
        origin: object = None,
        source: str | None = None,
    ) -> int:
        """Add a job; ``staging`` are the directories of its staged files, ``source`` its text."""

        def write(db: sqlite3.Connection) -> None:
            places = _json(list(staging)) if staging else None
            db.execute(
                "INSERT INTO jobs (job, name, status, submitted_at, idempotency_key, graph, "
                "staging, origin, source) VALUES (?, ?, 'ACCEPTED', ?, ?, ?, ?, ?, ?)",
                (job, name, at, idempotency_key, _json(graph), places, _json(origin), source),
            )
            self._checkpoint.will_add(job=job, status="ACCEPTED")

        return self._writer.put(write, synced=True)

    def job_ended(self, job: str, outcome: object, *, status: str, at: float) -> int:
        """Write the end of a job, with all its views."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE jobs SET status = ?, finished_at = ?, outcome = ? WHERE job = ?",
                (status, at, _json(outcome), job),
            )
            self._checkpoint.will_add(job=job, status=status)

        return self._writer.put(write, synced=True)

    def job_cleared(self, job: str) -> int:
        """Note that a job has no staged files any more."""
        return self._writer.put(
            lambda db: db.execute("UPDATE jobs SET staging = NULL WHERE job = ?", (job,))
        )

    def job_forgotten(self, job: str, *, totals: object = None) -> int:
        """Delete a job and its events; the next snapshot deletes those that a replay still needs.

        ``totals`` are the totals over all deleted jobs, including this one.
        """

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM jobs WHERE job = ?", (job,))
            if totals is not None:
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (TOTALS, _json(totals)))
            db.execute("DELETE FROM mentions WHERE job = ?", (job,))
            db.execute(
                "DELETE FROM events WHERE job = ? "
                "AND seq <= coalesce((SELECT min(seq) FROM snapshots), seq) "
                "AND seq NOT IN (SELECT seq FROM mentions)",
                (job,),
            )
            self._checkpoint.will_remove(job, seq=last_seq(db))

        return self._writer.put(write)

    def read_events(self, job: str, *, after: int = 0, limit: int = 1_000) -> list[JournalEvent]:
        """Return durable events of a job in order, on a new connection."""
        with closing(sqlite3.connect(self.path)) as db:
            rows = db.execute(
                f"SELECT {_EVENT} FROM events WHERE seq IN ({_NUMBERS}) "  # noqa: S608
                "ORDER BY seq LIMIT :limit",
                {"job": job, "after": after, "limit": limit},
            ).fetchall()
        return [JournalEvent(*row) for row in rows]

    def count_events(self, job: str, *, before: int | None = None) -> int:
        """Return the number of durable events of a job, all or those before a number."""
        parameters = {"job": job, "after": -1, "limit": -1, "before": before}
        with closing(sqlite3.connect(self.path)) as db:
            (count,) = db.execute(
                f"SELECT count(*) FROM events WHERE seq IN ({_NUMBERS}) "  # noqa: S608
                "AND (:before IS NULL OR seq < :before)",
                parameters,
            ).fetchone()
        return int(count)

    def read_graph(self, job: str) -> str | None:
        """Return the plan of a job, on a new connection."""
        return self._read_column("graph", job)

    def read_source(self, job: str) -> str | None:
        """Return the text of a job, None if it was submitted as a plan; on a new connection."""
        return self._read_column("source", job)

    def _read_column(self, name: Literal["graph", "source"], job: str) -> str | None:
        with closing(sqlite3.connect(self.path)) as db:
            row = db.execute(f"SELECT {name} FROM jobs WHERE job = ?", (job,)).fetchone()  # noqa: S608
        return None if row is None or row[0] is None else str(row[0])


def _find_loss(path: Path, expected: RecordedState | None) -> JournalLoss | None:
    """Compare a journal with its checkpoint; if content is lost, copy the files first."""
    log = path.with_name(f"{path.name}-wal")
    try:
        actual = inspect(path, thorough=has_bytes(log))
        loss = None if expected is None or actual is None else compare(expected, actual)
        if expected is None and has_bytes(log) and not has_bytes(path):
            loss = JournalLoss()  # SQLite would delete the log.
        return None if loss is None else replace(loss, directory=copy_files(path))
    except sqlite3.Error as error:
        raise journal_error(error, path) from error
    except OSError as error:
        msg = f"the journal is damaged, and its files cannot be kept: {error}"
        hint = "Free space on its disk, or copy the state directory elsewhere and remove its files."
        raise MinisparkError(msg, code="MS-117", file=str(path), hint=hint) from error


def _json(value: object) -> str:
    return to_json(value, bytes_mode="base64").decode()
