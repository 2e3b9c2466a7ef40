"""Blocks that this worker takes over from one that leaves.

Whoever asked is told of each as soon as it is here. One that cannot be had is only logged: the
master asks somebody else after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from minispark.blocks.copy_block import copy_block
from minispark.blocks.fetch import FetchSettings
from minispark.blocks.meta import BlockUnavailable
from minispark.blocks.store import BlockStore
from minispark.ids import TaskKey
from minispark.logs import logger, task_fields
from minispark.wire.messages import BlockFetch

_AT_A_TIME = 4
"""Enough to hide round trips, few enough that tasks still get the disk."""

_log = logger("worker")


class BlockMigrator:
    """Brings blocks into a store, some at a time; ``done`` is called on the loop for each."""

    def __init__(
        self, store: BlockStore, fetch: FetchSettings, *, done: Callable[[TaskKey], None]
    ) -> None:
        self._store = store
        self._fetch = fetch
        self._done = done
        self._room = asyncio.Semaphore(_AT_A_TIME)
        self._at_work: dict[TaskKey, asyncio.Task[None]] = {}

    def take(self, blocks: Iterable[BlockFetch]) -> None:
        """Begin to bring blocks; one that is on its way already is not brought twice."""
        for block in blocks:
            if block.key not in self._at_work:
                self._at_work[block.key] = asyncio.create_task(self._bring(block))

    async def stop(self) -> None:
        """Bring nothing more; nobody is told of what is on its way."""
        tasks = list(self._at_work.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring(self, block: BlockFetch) -> None:
        try:
            async with self._room:
                await asyncio.to_thread(
                    copy_block,
                    block.key,
                    size=block.bytes,
                    host=block.host,
                    directory=block.directory,
                    url=block.url,
                    kept=block.kept,
                    into=self._store.directory,
                    settings=self._fetch,
                )
        except (BlockUnavailable, OSError) as error:
            _log.warning("block_not_moved", reason=str(error), **task_fields(block.key))
        else:
            self._done(block.key)
        finally:
            del self._at_work[block.key]
