"""Blocks that this worker copies from a worker that drains.

The master gets a report of each copy. A block that cannot be copied is only logged: after a while
the master asks another worker.
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
"""Enough to hide round trips, few enough to leave the disk to tasks."""

_log = logger("worker")


class BlockMigrator:
    """Copies blocks into a store, some at a time; calls ``on_moved`` on the event loop for each."""

    def __init__(
        self, store: BlockStore, fetch: FetchSettings, *, on_moved: Callable[[TaskKey], None]
    ) -> None:
        self._store = store
        self._fetch = fetch
        self._on_moved = on_moved
        self._limit = asyncio.Semaphore(_AT_A_TIME)
        self._copies: dict[TaskKey, asyncio.Task[None]] = {}

    def add(self, blocks: Iterable[BlockFetch]) -> None:
        """Start to copy blocks, except those that are being copied already."""
        for block in blocks:
            if block.key not in self._copies:
                self._copies[block.key] = asyncio.create_task(self._copy(block))

    async def stop(self) -> None:
        """Cancel all copies."""
        tasks = list(self._copies.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _copy(self, block: BlockFetch) -> None:
        try:
            async with self._limit:
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
            self._on_moved(block.key)
        finally:
            del self._copies[block.key]
