"""The worker's cache, and what the master knows of it.

A block that a task has written for a cached node is kept under the name that came with the task;
the next report or heartbeat tells the master. What it has heard so far is a version, which each of
its answers repeats: so a lost message, a lost answer and a new master all mend themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minispark.blocks.cache import BlockCache, CacheChanges
from minispark.blocks.meta import DATA_SUFFIX
from minispark.ids import TaskKey
from minispark.logs import logger, task_fields
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.wire.messages import PollReply

_log = logger("worker")


class CacheSync:
    """Keeps blocks and tells of them; without a cache it does nothing. For one event loop."""

    def __init__(self, cache: BlockCache | None) -> None:
        self._cache = cache
        self._heard = 0
        """The version of which the master has heard."""

    async def keep(self, spec: TaskSpec, outcome: TaskReport | TaskFailure) -> None:
        """Keep the block of an attempt that ended well, if later jobs may want it."""
        if self._cache is None or spec.keep is None or not isinstance(outcome, TaskReport):
            return
        self._cache.missed()
        block = Path(spec.block_directory) / f"{spec.key.block_id}{DATA_SUFFIX}"
        try:
            kept = await asyncio.to_thread(self._cache.put, spec.keep, outcome.block, block)
        except Exception:  # The task is done: nothing that is only for later may harm it.
            kept = False
            _log.exception("cache_failed", **task_fields(spec.key))
        if not kept:
            _log.info("block_not_kept", **task_fields(spec.key))

    async def make_room(self) -> None:
        """Give back what others need of the memory and of the disk."""
        if self._cache is not None:
            with _harmless("make way"):
                await asyncio.to_thread(self._cache.make_room)

    async def news(self) -> CacheChanges | None:
        """Return what the master has not heard of, None if it knows everything."""
        if self._cache is None or self._cache.version == self._heard:
            return None
        with _harmless("changes"):
            return await asyncio.to_thread(self._cache.changes, self._heard)
        return None

    def heard(self, version: int) -> None:
        """Note what the master knows, by its own word."""
        self._heard = version

    def obey(self, reply: PollReply) -> None:
        """Do what the master says of kept blocks."""
        if self._cache is None:
            return
        with _harmless("drop and use"):
            if reply.cache_drop:
                self._cache.drop([TaskKey.parse(name) for name in reply.cache_drop])
                _log.warning("kept_blocks_dropped", blocks=len(reply.cache_drop))
            if reply.cache_used:
                self._cache.use([TaskKey.parse(name) for name in reply.cache_used])

    def clear(self) -> None:
        """Drop everything: another cluster has no use for it."""
        if self._cache is not None:
            with _harmless("clear"):
                self._cache.clear()

    def figures(self) -> dict[str, float]:
        """Return what a worker says of its cache."""
        return {} if self._cache is None else self._cache.figures()


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    """Log what is raised within the block: a cache that fails must not end its worker."""
    try:
        yield
    except Exception as error:
        _log.warning("cache_failed", what=what, reason=f"{type(error).__name__}: {error}")
