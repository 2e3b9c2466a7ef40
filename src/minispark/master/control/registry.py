"""The workers that the master knows, and what the next message to each of them carries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from minispark.blocks.cache import CacheChanges
from minispark.blocks.cache_hits import CacheHit, find_cached
from minispark.blocks.meta import BlockMeta
from minispark.ids import TaskKey
from minispark.journal.rows import Registration
from minispark.plan.stages import StageGraph
from minispark.task.spec import FragmentKey, TaskSpec
from minispark.wire.messages import BlockFetch, Fragment, PollReply

_MAX_DOWN = 100
"""DOWN workers that stay listed: each start of a worker may bring a new name."""

_Reply = TypeVar("_Reply", bound=PollReply)


@dataclass(slots=True)
class _Unsent:
    tasks: dict[TaskKey, TaskSpec] = field(default_factory=dict)
    fragments: list[Fragment] = field(default_factory=list)
    cancel: list[TaskKey] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    release_jobs: dict[str, None] = field(default_factory=dict)
    move: dict[TaskKey, BlockFetch] = field(default_factory=dict)
    cache_used: list[str] = field(default_factory=list)
    cache_drop: list[str] = field(default_factory=list)


class Outbox:
    """Content of a worker's next poll reply. A newer poll takes the place of an open one."""

    def __init__(self) -> None:
        self._unsent = _Unsent()
        self._sent: set[FragmentKey] = set()
        """Fragments that this session of the worker has, or gets with the next reply."""
        self._dismissed = False
        self._register_again = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._poll = 0
        self._answering = 0

    def launch(self, task: TaskSpec, fragment: bytes) -> None:
        """Send a task, and its fragment if the worker does not have it."""
        self._unsent.tasks[task.key] = task
        key = task.fragment_key
        if key not in self._sent:
            self._sent.add(key)
            self._unsent.fragments.append(Fragment(key=key, data=fragment))
        if not self._answering:
            self._wake()

    def cancel(self, key: TaskKey) -> None:
        """Take a task back: drop it if it was not sent yet, else tell the worker."""
        if self._unsent.tasks.pop(key, None) is None:
            self._unsent.cancel.append(key)
            self._wake()

    def forget_fragments(self, job: str) -> None:
        """Forget which fragments of a job were sent: the job has ended."""
        self._sent = {key for key in self._sent if key.job != job}
        unsent = self._unsent
        unsent.fragments = [part for part in unsent.fragments if part.key.job != job]

    def release(self, block_ids: list[str]) -> None:
        """Let the worker delete blocks; that can wait for the next reply."""
        self._unsent.release.extend(block_ids)

    def release_job(self, job: str) -> None:
        """Let the worker delete all blocks of a job."""
        self._unsent.release_jobs[job] = None
        self._wake()

    def move(self, blocks: Iterable[BlockFetch]) -> None:
        """Have the worker fetch whole blocks from other workers."""
        self._unsent.move.update((block.key, block) for block in blocks)
        self._wake()

    def use_kept(self, block_id: str) -> None:
        """Say that a job reads a block of the worker's cache; that can wait too."""
        self._unsent.cache_used.append(block_id)

    def drop_kept(self, block_id: str) -> None:
        """Have the worker drop a block of its cache, before the task that makes it runs again."""
        self._unsent.cache_drop.append(block_id)

    def dismiss(self) -> None:
        """Tell a draining worker that nothing is left for it to do."""
        self._dismissed = True
        self._wake()

    def register_again(self) -> None:
        """Tell the worker that its session has ended."""
        self._register_again = True
        self._wake()

    def close(self) -> None:
        """Answer open polls at once from now on."""
        self._closed = True
        self._wake()

    async def wait(self, wait_s: float) -> bool:
        """Wait until there is something to send; False if a newer poll has taken over."""
        self._poll += 1
        poll = self._poll
        self._wake()
        if wait_s > 0 and not self._closed and not self._urgent:
            self._waiter = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._waiter, wait_s)
        return poll == self._poll

    @property
    def _urgent(self) -> bool:
        unsent = self._unsent
        return bool(
            unsent.tasks
            or unsent.cancel
            or unsent.release_jobs
            or unsent.move
            or self._dismissed
            or self._register_again
        )

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Leave tasks to a reply that follows at once, in place of the open poll."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            if self._urgent:
                self._wake()

    def flush_into(self, reply: _Reply) -> _Reply:
        """Move everything that was not sent into a reply."""
        unsent, self._unsent = self._unsent, _Unsent()
        reply.tasks = tuple(unsent.tasks.values())
        reply.fragments = tuple(unsent.fragments)
        reply.cancel = tuple(unsent.cancel)
        reply.release = tuple(unsent.release)
        reply.release_jobs = tuple(unsent.release_jobs)
        reply.move = tuple(unsent.move.values())
        reply.cache_used = tuple(unsent.cache_used)
        reply.cache_drop = tuple(unsent.cache_drop)
        reply.dismissed = self._dismissed
        reply.register_again = self._register_again
        return reply

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(slots=True)
class WorkerSession:
    """A worker under one epoch, from its registration until it is DOWN or registers again."""

    registration: Registration
    seen_at: float
    """Last sign of life, monotonic."""
    status: str = "UP"
    full: str | None = None
    """Why it takes no work: its disk or its memory."""
    metrics: dict[str, float] = field(default_factory=dict)
    leased: set[TaskKey] = field(default_factory=set)
    outbox: Outbox = field(default_factory=Outbox)
    last_cleanup_s: dict[str, float] = field(default_factory=dict)
    """By finished job, when the worker last got the list of blocks to keep, monotonic."""
    cached_blocks: dict[TaskKey, BlockMeta] = field(default_factory=dict)
    """Content of its cache at ``cache_version``, without blocks that could not be read since."""
    cache_version: int = 0

    def update_cache(self, changes: CacheChanges | None) -> None:
        """Apply changes of the worker's cache; ignore those that do not follow its version."""
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
        """Name of the worker."""
        return self.registration.worker

    @property
    def epoch(self) -> int:
        """Number of the session."""
        return self.registration.epoch

    @property
    def url(self) -> str:
        """Address at which the worker serves blocks."""
        return self.registration.url

    @property
    def slots(self) -> int:
        """Tasks that the worker runs at a time."""
        return self.registration.slots


class Registry:
    """The newest session of each worker, by id; some that are DOWN stay listed."""

    def __init__(self, master_epoch: int) -> None:
        # A worker's epoch never repeats, over restarts of the master too.
        self._next = master_epoch << 20
        self._workers: dict[str, WorkerSession] = {}

    def next_epoch(self) -> int:
        """Return an epoch that no session had."""
        self._next += 1
        return self._next

    def register(self, registration: Registration, *, now: float) -> WorkerSession:
        """Begin a session; what was not sent in the worker's last session is dropped."""
        old = self._workers.get(registration.worker)
        if old is not None:
            old.outbox.register_again()
        session = self._workers[registration.worker] = WorkerSession(registration, now)
        down = [name for name, other in self._workers.items() if other.status == "DOWN"]
        for name in down[:-_MAX_DOWN]:
            del self._workers[name]
        return session

    def restore(
        self, registration: Registration, *, status: str, leased: Iterable[TaskKey], now: float
    ) -> None:
        """Continue a session from before a restart of the master."""
        session = WorkerSession(registration, now, status=status, leased=set(leased))
        self._workers[registration.worker] = session
        if status == "DOWN":
            session.outbox.register_again()

    def get(self, worker: str) -> WorkerSession | None:
        """Return the newest session of a worker."""
        return self._workers.get(worker)

    def current(self, worker: str, epoch: int) -> WorkerSession | None:
        """Return the session of a worker if it has this epoch and is not DOWN."""
        session = self._workers.get(worker)
        if session is None or session.epoch != epoch or session.status == "DOWN":
            return None
        return session

    def at(self, url: str) -> WorkerSession | None:
        """Return the session at an address that is not DOWN."""
        wanted = url.rstrip("/")
        for session in self._workers.values():
            if session.status != "DOWN" and session.url.rstrip("/") == wanted:
                return session
        return None

    def all(self) -> list[WorkerSession]:
        """Return all sessions, in the order in which their workers first registered."""
        return list(self._workers.values())

    def up(self) -> list[WorkerSession]:
        """Return the sessions of workers that may get work."""
        return [session for session in self._workers.values() if session.status == "UP"]

    def slots_up(self) -> int:
        """Return the number of slots of workers that may get work."""
        return sum(session.slots for session in self.up())

    def down(self, worker: str, epoch: int) -> None:
        """Mark a session as DOWN."""
        session = self._workers.get(worker)
        if session is not None and session.epoch == epoch:
            session.status = "DOWN"
            session.leased.clear()
            session.outbox.register_again()

    def job_ended(self, job: str) -> None:
        """Forget what was leased and sent for a job."""
        for session in self._workers.values():
            session.outbox.forget_fragments(job)
            session.leased = {key for key in session.leased if key.job != job}

    def find_cached(
        self, graph: StageGraph, job: str, *, workers: Collection[str]
    ) -> tuple[CacheHit, ...]:
        """Return the tasks of a job whose blocks are in the caches of ``workers``."""
        sessions = [session for session in self.all() if session.worker_id in workers]

        def find(name: TaskKey) -> tuple[str, BlockMeta] | None:
            holders = (session for session in sessions if name in session.cached_blocks)
            return next(((s.worker_id, s.cached_blocks[name]) for s in holders), None)

        return find_cached(graph, job, find)

    def use_cached(self, hits: Iterable[CacheHit]) -> None:
        """Tell workers which blocks of their caches a job reads."""
        for hit in hits:
            session = self.get(hit.worker)
            if session is not None:
                session.outbox.use_kept(hit.kept.block_id)

    def drop_cached(self, hit: CacheHit) -> None:
        """Have a cached block that could not be read dropped, so that no other job tries it."""
        session = self.get(hit.worker)
        if session is not None and session.cached_blocks.pop(hit.kept, None) is not None:
            session.outbox.drop_kept(hit.kept.block_id)
