"""The worker's cache, and what the master knows of it.

A block that a task wrote for a cached node is kept under the name that came with the task; the next
report or heartbeat tells the master. The master repeats in each answer which version of the cache
it knows, so a lost message, a lost answer and a new master need no special case.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from minispark.blocks.cache import BlockCache, CacheChanges
from minispark.blocks.meta import DATA_SUFFIX
from minispark.ids import TaskKey
from minispark.logs import logger, task_fields
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.wire.messages import PollReply
from minispark.worker.cleanup import log_errors

_log = logger("worker")
_log_errors = partial(log_errors, "cache_failed")


class CacheSync:
    """Keeps blocks and reports them; without a cache it does nothing. For one event loop."""

    def __init__(self, cache: BlockCache | None) -> None:
        self._cache = cache
        self._known_version = 0
        """Version of the cache that the master knows."""

    async def keep(self, spec: TaskSpec, outcome: TaskReport | TaskFailure) -> None:
        """Keep the block of an attempt that succeeded, if later jobs may read it."""
        if self._cache is None or spec.keep is None or not isinstance(outcome, TaskReport):
            return
        self._cache.missed()
        block = Path(spec.block_directory) / f"{spec.key.block_id}{DATA_SUFFIX}"
        try:
            kept = await asyncio.to_thread(self._cache.put, spec.keep, outcome.block, block)
        except Exception:  # The task has succeeded: a failure of the cache must not change that.
            kept = False
            _log.exception("cache_failed", **task_fields(spec.key))
        if not kept:
            _log.info("block_not_kept", **task_fields(spec.key))

    async def make_room(self) -> None:
        """Drop cached blocks whose memory or disk other processes need."""
        if self._cache is not None:
            with _log_errors("make way"):
                await asyncio.to_thread(self._cache.make_room)

    async def changes(self) -> CacheChanges | None:
        """Return the changes that the master does not know, None if there are none."""
        if self._cache is None or self._cache.version == self._known_version:
            return None
        with _log_errors("changes"):
            return await asyncio.to_thread(self._cache.changes, self._known_version)
        return None

    def confirm(self, version: int) -> None:
        """Note which version the master knows, from its answer."""
        self._known_version = version

    def apply(self, reply: PollReply) -> None:
        """Drop the blocks that the master names, and mark those that a job reads as used."""
        if self._cache is None:
            return
        with _log_errors("drop and use"):
            if reply.cache_drop:
                self._cache.drop([TaskKey.parse(name) for name in reply.cache_drop])
                _log.warning("kept_blocks_dropped", blocks=len(reply.cache_drop))
            if reply.cache_used:
                self._cache.use([TaskKey.parse(name) for name in reply.cache_used])

    def clear(self) -> None:
        """Drop everything: another cluster cannot use it."""
        if self._cache is not None:
            with _log_errors("clear"):
                self._cache.clear()

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the cache."""
        return {} if self._cache is None else self._cache.figures()
