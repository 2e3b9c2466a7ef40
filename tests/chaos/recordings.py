"""Journals of chaos runs as small files, to be replayed against every later build.

One gzipped file of JSON lines: a head (which scheduler wrote it, and the snapshot at which a
replay begins, if there is one), then a row of the journal each. The graphs of the jobs are left
out: the scheduler does not know them.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from minispark.blocks.host import host_identity
from minispark.journal.journal import JournalEvent, Snapshot
from minispark.master.recovery.replay import Replay
from minispark.scheduler.snapshot import SCHEDULER_VERSION

_PLACE, _HOST = "/chaos", "chaos-host"


@dataclass(frozen=True, slots=True)
class Recording:
    """A journal as it was kept."""

    version: int
    """Of the scheduler that wrote it."""
    snapshot: Snapshot | None
    rows: tuple[JournalEvent, ...]


def export(database: Path, target: Path, *, folder: Path) -> int:
    """Keep what a master's journal holds from its oldest snapshot on; return how many rows.

    Names of ``folder`` and of this machine are replaced: they tell nothing and differ each time.
    """
    with closing(sqlite3.connect(database)) as db:
        found = db.execute(
            "SELECT seq, version, now, state FROM snapshots ORDER BY seq LIMIT 1"
        ).fetchone()
        after = 0 if found is None else found[0]
        rows = db.execute(
            "SELECT seq, job, kind, at, now, payload, commands FROM events "
            "WHERE seq > ? AND now IS NOT NULL ORDER BY seq",
            (after,),
        ).fetchall()
    version = SCHEDULER_VERSION if found is None else found[1]
    lines = [json.dumps({"version": version, "snapshot": found})]
    lines += [json.dumps(row) for row in rows]
    text = "\n".join(lines).replace(str(folder), _PLACE).replace(host_identity(), _HOST)
    target.write_bytes(gzip.compress(text.encode(), mtime=0))
    return len(rows)


def load(path: Path) -> Recording:
    """Read a kept journal."""
    head, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    said = json.loads(head)
    snapshot = None if said["snapshot"] is None else Snapshot(*said["snapshot"])
    return Recording(said["version"], snapshot, tuple(_events(rows)))


def replay(recording: Recording) -> Replay:
    """Let this build's scheduler decide everything again; ``broken`` says where it would not."""
    done = Replay(recording.snapshot, empty=True)
    for stored in recording.rows:
        done.read(stored)
    return done


def _events(lines: list[str]) -> Iterator[JournalEvent]:
    for line in lines:
        yield JournalEvent(*json.loads(line))
