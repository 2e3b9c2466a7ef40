"""The tables of the journal, and the migration of files from earlier versions.

::

    meta       name, value                     cluster id, epoch of the master
    jobs       one row a job, with its plan    until its retention is over
    events     one row a fact, in order        until no job and no snapshot needs it
    mentions   (job, seq)                      facts of other jobs with decisions for a job
    snapshots  the scheduler after ``seq``     the newest two
    news       what happened in the cluster    the last of each kind
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minispark.errors import MinisparkError, UsageError
from minispark.journal.cluster_event import NEWS
from minispark.settings import JournalSettings

SCHEMA_VERSION = 4
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WAL_BYTES = 64 << 20
"""Largest write-ahead log that stays on disk after its content was copied into the file."""

_JOBS = """
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
    outcome TEXT,
    staging TEXT,
    origin TEXT,
    source TEXT
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    job TEXT NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    payload TEXT NOT NULL,
    now REAL,
    commands TEXT
);
CREATE INDEX events_of_job ON events (job, seq);
"""
_REPLAY = """
CREATE TABLE snapshots (
    seq INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    now REAL NOT NULL,
    at REAL NOT NULL,
    state TEXT NOT NULL
);
CREATE TABLE mentions (job TEXT, seq INTEGER, PRIMARY KEY (job, seq)) WITHOUT ROWID;
"""
_FROM_1 = f"""
ALTER TABLE jobs ADD COLUMN staging TEXT;
ALTER TABLE events ADD COLUMN now REAL;
ALTER TABLE events ADD COLUMN commands TEXT;
{_REPLAY}
"""
_ORIGIN = """
ALTER TABLE jobs ADD COLUMN origin TEXT;
ALTER TABLE jobs ADD COLUMN source TEXT;
"""
_STEPS = {
    0: _JOBS + _REPLAY + NEWS,
    1: _FROM_1 + NEWS + _ORIGIN,
    2: NEWS + _ORIGIN,
    3: _ORIGIN,
}
"""Statements that migrate each older version to this one; 0 is an empty file."""


def open_database(path: Path, settings: JournalSettings) -> sqlite3.Connection:
    """Open a journal's file, new or of an earlier version; only its owner can read it.

    Raises
    ------
    UsageError
        A later version wrote it.
    MinisparkError
        It cannot be read or written, or is damaged.
    """
    db = sqlite3.connect(
        path, check_same_thread=False, timeout=settings.busy_s, isolation_level=None
    )
    try:
        path.chmod(0o600)
        if path.stat().st_size == 0:
            # Only possible before the first table. It returns pages of deleted rows to the disk.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        db.execute("PRAGMA synchronous = FULL")
        _migrate(db, path)
    except sqlite3.Error as error:
        db.close()
        raise journal_error(error, path) from error
    except BaseException:
        db.close()
        raise
    return db


def journal_error(error: sqlite3.Error, path: Path) -> MinisparkError:
    """Return the error of a journal for an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _DAMAGED:
        return MinisparkError(
            f"the journal {path} is damaged: {error}",
            code="MS-118",
            file=str(path),
            hint=f"Copy {path.name}* away first. Then write what can be read into a new file: "
            f'sqlite3 {path.name} ".recover" | sqlite3 new.db; put it in the place of '
            f"{path.name} and remove {path.name}-wal. Without {path.name}* the master starts "
            "with no jobs.",
        )
    return MinisparkError(
        f"the journal cannot be opened: {error}",
        code="MS-117",
        file=str(path),
        hint="Free space on its disk, make the file writable, or stop the process that locks it.",
    )


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # A full disk ends the transaction by itself.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    if version not in _STEPS:
        msg = f"{path} was written by another version of Mini-Spark (its schema is {version})"
        raise UsageError(
            msg,
            code="MS-115",
            file=str(path),
            hint="Use that version, or name a new state directory with --state-dir.",
        )
    with transaction(db):
        for statement in _STEPS[version].split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
