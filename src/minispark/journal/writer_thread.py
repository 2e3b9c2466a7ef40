"""The thread that makes writes durable, in batches, however long the disk refuses.

Covers: order, batches, trouble that may pass (a full disk, a lock) and its end. Does not cover:
what is written (`journal`).

::

    put ──> queue ──> [BEGIN, about `batch` writes, COMMIT] ──> on_durable(number)
                          │ refused: `trouble` is set, the same batch is tried again
                          └ broken for good: `failure` is set, nothing is durable any more
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from minispark.clock import monotonic_s
from minispark.journal.schema import transaction
from minispark.settings import JournalSettings

_MAY_PASS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    }
)
"""Somebody can mend these while the master runs. The rest is a broken file or a mistake of ours."""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """Part of a transaction; done again after a failure it is the same."""

    number: int
    run: Callable[[sqlite3.Connection], object]
    synced: bool
    """Whether it has to outlive a power cut, whatever the level."""


class WriterThread:
    """Owns the connection from `start` on. ``number`` and ``durable`` count writes."""

    def __init__(
        self,
        db: sqlite3.Connection,
        settings: JournalSettings,
        *,
        before_commit: Callable[[], None] = lambda: None,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.failure: Exception | None = None
        self.trouble: str | None = None
        self.number = 0
        self.durable = 0
        self._db = db
        self._before_commit = before_commit
        self._on_commit = on_commit
        self._settings = settings
        self._queue: queue.SimpleQueue[list[PendingWrite] | None] = queue.SimpleQueue()
        self._held: list[PendingWrite] = []
        """What was put and not queued yet."""
        self._holding = False
        self._on_durable: Callable[[int], None] = lambda _number: None
        self._on_trouble: Callable[[], None] = lambda: None
        self._closing_s: float | None = None
        self._pause = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_durable: Callable[[int], None], on_trouble: Callable[[], None]) -> None:
        """Start the thread, which makes both calls: see `Journal.start`."""
        self._on_durable, self._on_trouble = on_durable, on_trouble
        self._db.execute(f"PRAGMA synchronous = {self._settings.synchronous}")
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    def put(self, run: Callable[[sqlite3.Connection], object], *, synced: bool = False) -> int:
        """Queue a write; return its number."""
        self.number += 1
        self._held.append(PendingWrite(self.number, run, synced))
        if not self._holding:
            self._let_go()
        return self.number

    @contextmanager
    def together(self) -> Iterator[None]:
        """Queue at its end what is put within the block: waking the thread costs more than a write.

        Not to be nested.
        """
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            self._let_go()

    def _let_go(self) -> None:
        if self._held:
            self._queue.put(self._held)
            self._held = []

    @property
    def behind(self) -> bool:
        """Whether more waits for the disk than may."""
        return self.number - self.durable >= self._settings.queue

    def close(self) -> bool:
        """Write what is queued; return False if the disk would not take it in time."""
        if self._thread is not None:
            self._closing_s = monotonic_s() + self._settings.close_s
            self._queue.put(None)
            self._pause.set()
            self._thread.join()
        return self.durable == self.number

    def _write_all(self) -> None:
        for batch in self._batches():
            if not self._write(batch):
                return
            self.durable = batch[-1].number
            self._on_durable(self.durable)

    def _write(self, batch: list[PendingWrite]) -> bool:
        """Make a batch durable, however long it takes; False if it never will be."""
        delay_s = self._settings.retry_first_s
        while True:
            try:
                self._attempt(batch)
            except Exception as error:
                if not _may_pass(error):
                    self.failure = error
                    self._on_trouble()
                    return False
                self._say(str(error))
            else:
                self._on_commit()
                self._say(None)
                return True
            if self._closing_s is not None and monotonic_s() >= self._closing_s:
                return False
            self._pause.wait(delay_s)
            self._pause.clear()
            delay_s = min(2 * delay_s, self._settings.retry_last_s)

    def _attempt(self, batch: list[PendingWrite]) -> None:
        raised = self._settings.synchronous == "NORMAL" and any(write.synced for write in batch)
        if raised:
            self._db.execute("PRAGMA synchronous = FULL")
        try:
            with transaction(self._db):
                for write in batch:
                    write.run(self._db)
                self._before_commit()
        finally:
            if raised:
                self._db.execute("PRAGMA synchronous = NORMAL")

    def _say(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_trouble()

    def _batches(self) -> Iterator[list[PendingWrite]]:
        """Yield what is queued, as one batch, until told to end."""
        ended = False
        while not ended:
            item = self._queue.get()
            batch: list[PendingWrite] = []
            while item is not None:
                batch += item
                if len(batch) >= self._settings.batch or self._queue.empty():
                    break
                item = self._queue.get()
            ended = item is None
            if batch:
                yield batch


def _may_pass(error: Exception) -> bool:
    # Errors of the module itself (a closed connection) have no code.
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code is not None and code & 0xFF in _MAY_PASS
