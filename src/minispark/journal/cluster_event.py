"""What happened in a cluster, in sentences: the lines that its events page shows.

Covers: a line, and the table of the journal that keeps the last of them. Does not cover: what is
worth a line (`minispark.master.views.cluster_events`), the events of one job (`journal`).

They are kept apart from the rows, which go when no job needs them, and written once the row that
each is about is durable: a master that is killed in between says nothing of its last rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

About = Literal["worker", "job", "attempt", "master"]

NEWS_KEPT = 5_000
"""Lines kept of each kind of thing: a job that fails ten thousand times hides no worker."""
MAX_SAID = 600
"""Characters of a sentence: what a user's exception says may be long."""

NEWS = """
CREATE TABLE news (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    about TEXT NOT NULL,
    kind TEXT NOT NULL,
    said TEXT NOT NULL,
    worker TEXT,
    job TEXT,
    name TEXT,
    task TEXT
);
CREATE INDEX news_about ON news (about, number);
"""
_COLUMNS = "at, about, kind, said, worker, job, name, task"


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Something that happened: to what, in a word, in a sentence, and who else was in it."""

    about: About
    kind: str
    said: str
    worker: str | None = None
    job: str | None = None
    name: str | None = None
    """The job's, which outlives the job here."""
    task: str | None = None
    """The attempt, as the name of the block that it writes."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A line as it was kept; a later one has a higher number."""

    number: int
    at: float
    news: ClusterEvent


def write_news(db: sqlite3.Connection, lines: Iterable[ClusterEvent], *, at: float) -> None:
    """Keep lines; part of a transaction."""
    db.executemany(
        f"INSERT INTO news ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        ((at, n.about, n.kind, n.said[:MAX_SAID], n.worker, n.job, n.name, n.task) for n in lines),
    )


def prune_news(db: sqlite3.Connection) -> None:
    """Drop the oldest lines beyond those that are kept; part of a transaction."""
    for (about,) in db.execute("SELECT DISTINCT about FROM news").fetchall():
        db.execute(
            "DELETE FROM news WHERE about = :about AND number <= (SELECT number FROM news "
            "WHERE about = :about ORDER BY number DESC LIMIT 1 OFFSET :kept)",
            {"about": about, "kept": NEWS_KEPT},
        )


def read_news(
    path: Path, *, about: About | None, before: int | None, limit: int
) -> list[StoredEvent]:
    """Return durable lines, newest first, on a connection of its own; ``before`` is a number."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            f"SELECT number, {_COLUMNS} FROM news WHERE (:about IS NULL OR about = :about) "  # noqa: S608
            "AND (:before IS NULL OR number < :before) ORDER BY number DESC LIMIT :limit",
            {"about": about, "before": before, "limit": limit},
        ).fetchall()
    return [
        StoredEvent(number, at, ClusterEvent(about, kind, said, worker, job, name, task))
        for number, at, about, kind, said, worker, job, name, task in rows
    ]
