"""The thread that makes writes durable, in batches; it retries as long as the disk refuses.

Covers: order, batches, errors that may pass (a full disk, a lock). Does not cover: the content of
writes (`journal`).

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
"""Errors that an operator can fix while the master runs. All others mean a broken file or a bug."""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """A part of a transaction; it can be repeated after a failure."""

    number: int
    run: Callable[[sqlite3.Connection], object]
    synced: bool
    """Whether it has to survive a power cut at every level of ``synchronous``."""


class WriterThread:
    """The writer of a connection, which only its thread may use after `start`.

    ``number`` and ``durable`` count queued and durable writes.
    """

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
        self._unqueued: list[PendingWrite] = []
        """Writes that are not in the queue yet."""
        self._batching = False
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
        self._unqueued.append(PendingWrite(self.number, run, synced))
        if not self._batching:
            self._flush()
        return self.number

    @contextmanager
    def together(self) -> Iterator[None]:
        """Queue the writes of the block at its end: waking the thread costs more than a write.

        Blocks must not be nested.
        """
        self._batching = True
        try:
            yield
        finally:
            self._batching = False
            self._flush()

    def _flush(self) -> None:
        if self._unqueued:
            self._queue.put(self._unqueued)
            self._unqueued = []

    @property
    def behind(self) -> bool:
        """Whether more writes wait for the disk than the limit."""
        return self.number - self.durable >= self._settings.queue

    def close(self) -> bool:
        """Write the queue; return False if that was not possible in time."""
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
        """Make a batch durable, with retries; return False if that is not possible."""
        delay_s = self._settings.retry_first_s
        while True:
            try:
                self._attempt(batch)
            except Exception as error:
                if not _may_pass(error):
                    self.failure = error
                    self._on_trouble()
                    return False
                self._set_trouble(str(error))
            else:
                self._on_commit()
                self._set_trouble(None)
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

    def _set_trouble(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_trouble()

    def _batches(self) -> Iterator[list[PendingWrite]]:
        """Yield batches of queued writes until `close`."""
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
    # Errors of the Python module (a closed connection) have no code.
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code is not None and code & 0xFF in _MAY_PASS
