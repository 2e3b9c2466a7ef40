"""The workers that the master knows, and what waits to be sent to each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from minispark.blocks.cache import CacheChanges
from minispark.blocks.meta import BlockMeta
from minispark.ids import TaskKey
from minispark.journal.rows import Registration
from minispark.task.spec import FragmentKey, TaskSpec
from minispark.wire.messages import BlockFetch, Fragment, PollReply

_MAX_DOWN = 100
"""Workers that are gone and still listed: each start of a worker may bring a new name."""

_Reply = TypeVar("_Reply", bound=PollReply)


class Outbox:
    """What a worker's next poll carries. A newer poll takes the place of one that is held."""

    def __init__(self) -> None:
        self._tasks: dict[TaskKey, TaskSpec] = {}
        self._fragments: list[Fragment] = []
        self._sent: set[FragmentKey] = set()
        """Fragments that this session of the worker was sent, or gets with the next answer."""
        self._cancel: list[TaskKey] = []
        self._release: list[str] = []
        self._release_jobs: dict[str, None] = {}
        self._move: dict[TaskKey, BlockFetch] = {}
        self._cache_used: list[str] = []
        self._cache_drop: list[str] = []
        self._dismissed = False
        self._register_again = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._turn = 0
        self._answering = 0

    def launch(self, task: TaskSpec, fragment: bytes) -> None:
        """Send a task, and its fragment if the worker was not sent that before."""
        self._tasks[task.key] = task
        key = task.fragment_key
        if key not in self._sent:
            self._sent.add(key)
            self._fragments.append(Fragment(key=key, data=fragment))
        if not self._answering:
            self._wake()

    def cancel(self, key: TaskKey) -> bool:
        """Take a task back; return True if it had not been sent yet."""
        if self._tasks.pop(key, None) is not None:
            return True
        self._cancel.append(key)
        self._wake()
        return False

    def forget_fragments(self, job: str) -> None:
        """Forget which fragments of a job were sent: it has ended."""
        self._sent = {key for key in self._sent if key.job != job}
        self._fragments = [one for one in self._fragments if one.key.job != job]

    def release(self, block_ids: list[str]) -> None:
        """Let blocks go; that can wait for the next reason to answer."""
        self._release.extend(block_ids)

    def release_job(self, job: str) -> None:
        """Let all blocks of a job go."""
        self._release_jobs[job] = None
        self._wake()

    def move(self, blocks: Iterable[BlockFetch]) -> None:
        """Have the worker fetch whole blocks from others."""
        self._move.update((block.key, block) for block in blocks)
        self._wake()

    def use_kept(self, block_id: str) -> None:
        """Say that a job begins with a block of its cache; that can wait too."""
        self._cache_used.append(block_id)

    def drop_kept(self, block_id: str) -> None:
        """Have a block of its cache dropped, before the task runs again that gives it."""
        self._cache_drop.append(block_id)

    def dismiss(self) -> None:
        """Tell a worker that drains that nothing is left for it to do."""
        self._dismissed = True
        self._wake()

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
        return bool(
            self._tasks
            or self._cancel
            or self._release_jobs
            or self._move
            or self._dismissed
            or self._register_again
        )

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Leave tasks to an answer that is about to be given, in place of a held poll."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            if self._urgent:
                self._wake()

    def flush_into(self, reply: _Reply) -> _Reply:
        """Move what there is into a reply."""
        reply.tasks = tuple(self._tasks.values())
        reply.fragments = tuple(self._fragments)
        reply.cancel = tuple(self._cancel)
        reply.release = tuple(self._release)
        reply.release_jobs = tuple(self._release_jobs)
        reply.move = tuple(self._move.values())
        reply.cache_used = tuple(self._cache_used)
        reply.cache_drop = tuple(self._cache_drop)
        reply.dismissed = self._dismissed
        reply.register_again = self._register_again
        self._tasks.clear()
        self._fragments.clear()
        self._cancel.clear()
        self._release.clear()
        self._release_jobs.clear()
        self._move.clear()
        self._cache_used.clear()
        self._cache_drop.clear()
        return reply

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(slots=True)
class WorkerSession:
    """One life of one worker."""

    known: Registration
    seen_at: float
    """Last sign of life, monotonic."""
    status: str = "UP"
    full: str | None = None
    """Why it takes no work: its disk or its memory."""
    metrics: dict[str, float] = field(default_factory=dict)
    leased: set[TaskKey] = field(default_factory=set)
    outbox: Outbox = field(default_factory=Outbox)
    last_cleanup_s: dict[str, float] = field(default_factory=dict)
    """When it was last told what to keep of a job that has ended, monotonic."""
    cached_blocks: dict[TaskKey, BlockMeta] = field(default_factory=dict)
    """What its cache had at ``cache_version``, but for what could not be read since."""
    cache_version: int = 0

    def hear_of_cache(self, changes: CacheChanges | None) -> None:
        """Take in what a cache has; changes that do not follow on what is known say nothing."""
        if changes is None or not changes.since <= self.cache_version <= changes.version:
            return
        if changes.since == 0:
            self.cached_blocks.clear()
        self.cached_blocks.update((block.key, block.meta) for block in changes.added)
        for key in changes.removed:
            self.cached_blocks.pop(key, None)
        self.cache_version = changes.version

    @property
    def worker_id(self) -> str:
        """Its name."""
        return self.known.worker

    @property
    def epoch(self) -> int:
        """Which life of it."""
        return self.known.epoch

    @property
    def url(self) -> str:
        """Where it serves blocks."""
        return self.known.url

    @property
    def host(self) -> str:
        """The machine that it runs on."""
        return self.known.host

    @property
    def directory(self) -> str:
        """Where its blocks are on that machine."""
        return self.known.directory

    @property
    def slots(self) -> int:
        """Tasks that it runs at a time."""
        return self.known.slots


class Registry:
    """The workers of this master's life, by id; one that is DOWN stays listed for a while."""

    def __init__(self, master_epoch: int) -> None:
        # A worker's epoch never repeats, over restarts of the master too.
        self._next = master_epoch << 20
        self._workers: dict[str, WorkerSession] = {}

    def next_epoch(self) -> int:
        """Return an epoch that no life of any worker had."""
        self._next += 1
        return self._next

    def register(self, known: Registration, *, now: float) -> WorkerSession:
        """Begin a new life of a worker; what waited for its old one is dropped."""
        old = self._workers.get(known.worker)
        if old is not None:
            old.outbox.register_again()
        entry = self._workers[known.worker] = WorkerSession(known, now)
        gone = [name for name, other in self._workers.items() if other.status == "DOWN"]
        for name in gone[:-_MAX_DOWN]:
            del self._workers[name]
        return entry

    def restore(
        self, known: Registration, *, status: str, leased: Iterable[TaskKey], now: float
    ) -> None:
        """Take a worker for present that an earlier life of the master knew."""
        entry = WorkerSession(known, now, status=status, leased=set(leased))
        self._workers[known.worker] = entry
        if status == "DOWN":
            entry.outbox.register_again()

    def get(self, worker: str) -> WorkerSession | None:
        """Return the current life of a worker."""
        return self._workers.get(worker)

    def current(self, worker: str, epoch: int) -> WorkerSession | None:
        """Return a worker if it is up and speaks under its current epoch."""
        entry = self._workers.get(worker)
        if entry is None or entry.epoch != epoch or entry.status == "DOWN":
            return None
        return entry

    def at(self, url: str) -> WorkerSession | None:
        """Return the worker that is up at an address."""
        wanted = url.rstrip("/")
        for entry in self._workers.values():
            if entry.status != "DOWN" and entry.url.rstrip("/") == wanted:
                return entry
        return None

    def all(self) -> list[WorkerSession]:
        """Return all workers, in the order in which they first came."""
        return list(self._workers.values())

    @property
    def any_up(self) -> bool:
        """Whether there is a worker to give work to."""
        return bool(self.up())

    def up(self) -> list[WorkerSession]:
        """Return the workers that may be given work."""
        return [entry for entry in self._workers.values() if entry.status == "UP"]

    def down(self, worker: str, epoch: int) -> None:
        """Mark a life of a worker as over."""
        entry = self._workers.get(worker)
        if entry is not None and entry.epoch == epoch:
            entry.status = "DOWN"
            entry.leased.clear()
            entry.outbox.register_again()

    def job_ended(self, job: str) -> None:
        """Forget what was leased and sent for a job."""
        for entry in self._workers.values():
            entry.outbox.forget_fragments(job)
            entry.leased = {key for key in entry.leased if key.job != job}
