"""The workers that the master knows, and what waits to be sent to each."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from minispark.ids import TaskKey
from minispark.task.spec import TaskSpec
from minispark.wire.messages import PollReply, RegisterRequest

__all__ = ["Outbox", "Registry", "WorkerEntry"]

_MAX_DOWN = 100
"""Workers that are gone and still listed: each start of a worker may bring a new name."""


class Outbox:
    """What a worker's next poll carries. A newer poll takes the place of one that is held."""

    def __init__(self) -> None:
        self._tasks: dict[TaskKey, TaskSpec] = {}
        self._cancel: list[TaskKey] = []
        self._release: list[str] = []
        self._release_jobs: list[str] = []
        self._register_again = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._turn = 0

    def launch(self, task: TaskSpec) -> None:
        """Send a task."""
        self._tasks[task.key] = task
        self._wake()

    def cancel(self, key: TaskKey) -> bool:
        """Take a task back; return True if it had not been sent yet."""
        if self._tasks.pop(key, None) is not None:
            return True
        self._cancel.append(key)
        self._wake()
        return False

    def release(self, block_ids: list[str]) -> None:
        """Let blocks go; that can wait for the next reason to answer."""
        self._release.extend(block_ids)

    def release_job(self, job: str) -> None:
        """Let every block of a job go; that can wait too."""
        self._release_jobs.append(job)

    def register_again(self) -> None:
        """Tell the worker that it is not known any more."""
        self._register_again = True
        self._wake()

    def close(self) -> None:
        """Answer held polls and hold no more."""
        self._closed = True
        self._wake()

    async def wait(self, wait_s: float) -> bool:
        """Wait until there is something to send; False if a newer poll has taken over."""
        self._turn += 1
        turn = self._turn
        self._wake()
        if wait_s > 0 and not self._closed and not self._urgent:
            self._waiter = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._waiter, wait_s)
        return turn == self._turn

    @property
    def _urgent(self) -> bool:
        return bool(self._tasks or self._cancel or self._register_again)

    def drain(self) -> PollReply:
        """Take what there is."""
        reply = PollReply(
            tasks=tuple(self._tasks.values()),
            cancel=tuple(self._cancel),
            release=tuple(self._release),
            release_jobs=tuple(self._release_jobs),
            register_again=self._register_again,
        )
        self._tasks.clear()
        self._cancel.clear()
        self._release.clear()
        self._release_jobs.clear()
        return reply

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(slots=True)
class WorkerEntry:
    """One life of one worker."""

    worker_id: str
    epoch: int
    url: str
    host: str
    directory: str
    slots: int
    seen_at: float
    """Last sign of life, monotonic."""
    status: str = "UP"
    metrics: dict[str, float] = field(default_factory=dict)
    leased: set[TaskKey] = field(default_factory=set)
    outbox: Outbox = field(default_factory=Outbox)


class Registry:
    """The workers of this master's life, by id; one that is DOWN stays listed for a while."""

    def __init__(self, master_epoch: int) -> None:
        # A worker's epoch never repeats, over restarts of the master too.
        self._next = master_epoch << 20
        self._workers: dict[str, WorkerEntry] = {}

    def register(self, request: RegisterRequest, *, now: float) -> WorkerEntry:
        """Begin a new life of a worker; what waited for its old one is dropped."""
        old = self._workers.get(request.worker_id)
        if old is not None:
            old.outbox.register_again()
        self._next += 1
        entry = WorkerEntry(
            worker_id=request.worker_id,
            epoch=self._next,
            url=request.url,
            host=request.host,
            directory=request.directory,
            slots=request.slots,
            seen_at=now,
        )
        self._workers[request.worker_id] = entry
        gone = [name for name, known in self._workers.items() if known.status == "DOWN"]
        for name in gone[:-_MAX_DOWN]:
            del self._workers[name]
        return entry

    def get(self, worker: str) -> WorkerEntry | None:
        """Return the current life of a worker."""
        return self._workers.get(worker)

    def current(self, worker: str, epoch: int) -> WorkerEntry | None:
        """Return a worker if it is up and speaks under its current epoch."""
        entry = self._workers.get(worker)
        if entry is None or entry.epoch != epoch or entry.status == "DOWN":
            return None
        return entry

    def at(self, url: str) -> WorkerEntry | None:
        """Return the worker that is up at an address."""
        wanted = url.rstrip("/")
        for entry in self._workers.values():
            if entry.status != "DOWN" and entry.url.rstrip("/") == wanted:
                return entry
        return None

    def all(self) -> list[WorkerEntry]:
        """Return all workers, in the order in which they first came."""
        return list(self._workers.values())

    @property
    def any_up(self) -> bool:
        """Whether there is a worker to give work to."""
        return any(entry.status == "UP" for entry in self._workers.values())

    def down(self, worker: str, epoch: int) -> None:
        """Mark a life of a worker as over."""
        entry = self._workers.get(worker)
        if entry is not None and entry.epoch == epoch:
            entry.status = "DOWN"
            entry.leased.clear()
            entry.outbox.register_again()

    def job_ended(self, job: str) -> None:
        """Forget what was leased for a job."""
        for entry in self._workers.values():
            entry.leased = {key for key in entry.leased if key.job != job}
