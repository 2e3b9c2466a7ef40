"""Events of a cluster as sentences, for its events page.

Covers: an event, and the journal's table of the last ones. Does not cover: which rows give an event
(`minispark.master.views.cluster_events`), the events of one job (`journal`).

They have a table of their own, as rows are deleted when no job needs them. An event is written when
its row is durable: if the master is killed in between, the events of its last rows are missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

About = Literal["worker", "job", "attempt", "master"]

MAX_NEWS = 5_000
"""Events kept for each value of ``about``: so ten thousand failed attempts hide no worker."""
MAX_SENTENCE = 600
"""Characters of a sentence: the message of a user's exception may be long."""

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
_TEXT = (
    "lower(about || ' ' || kind || ' ' || said || ' ' || coalesce(worker, '') || ' ' "
    "|| coalesce(job, '') || ' ' || coalesce(name, ''))"
)
_MAX_WORDS = 10
_COLUMNS = "at, about, kind, said, worker, job, name, task"


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """An event of the cluster.

    ``kind`` is the event in one word, ``said`` in a sentence.
    """

    about: About
    kind: str
    said: str
    worker: str | None = None
    job: str | None = None
    name: str | None = None
    """Name of the job, as the event may outlive the job."""
    task: str | None = None
    """The attempt, by the name of its block."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in the journal; later events have higher numbers."""

    number: int
    at: float
    news: ClusterEvent


def write_news(db: sqlite3.Connection, lines: Iterable[ClusterEvent], *, at: float) -> None:
    """Insert events; part of a transaction."""
    db.executemany(
        f"INSERT INTO news ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            (at, n.about, n.kind, n.said[:MAX_SENTENCE], n.worker, n.job, n.name, n.task)
            for n in lines
        ),
    )


def prune_news(db: sqlite3.Connection) -> None:
    """Delete the oldest events beyond the limit; part of a transaction."""
    for (about,) in db.execute("SELECT DISTINCT about FROM news").fetchall():
        db.execute(
            "DELETE FROM news WHERE about = :about AND number <= (SELECT number FROM news "
            "WHERE about = :about ORDER BY number DESC LIMIT 1 OFFSET :kept)",
            {"about": about, "kept": MAX_NEWS},
        )


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events to read; a field that is None selects all. ``after`` and ``before`` exclude."""

    about: About | None = None
    job: str | None = None
    worker: str | None = None
    after: int | None = None
    before: int | None = None
    words: tuple[str, ...] = ()
    """Each is in the sentence, or in the name of what the event is about."""


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a search, the first ones of many."""
    return tuple(text.split()[:_MAX_WORDS])


def read_news(path: Path, query: EventQuery, *, limit: int) -> list[StoredEvent]:
    """Return durable events, newest first, on a new connection."""
    with closing(sqlite3.connect(path)) as db:
        words = {f"word{number}": word for number, word in enumerate(query.words)}
        searched = "".join(f"AND instr({_TEXT}, lower(:{name})) " for name in words)
        rows = db.execute(
            f"SELECT number, {_COLUMNS} FROM news WHERE (:about IS NULL OR about = :about) "  # noqa: S608
            "AND (:job IS NULL OR job = :job) AND (:worker IS NULL OR worker = :worker) "
            "AND (:after IS NULL OR number > :after) AND (:before IS NULL OR number < :before) "
            f"{searched}ORDER BY number DESC LIMIT :limit",
            {**asdict(query), "limit": limit, **words},
        ).fetchall()
    return [
        StoredEvent(number, at, ClusterEvent(about, kind, said, worker, job, name, task))
        for number, at, about, kind, said, worker, job, name, task in rows
    ]
