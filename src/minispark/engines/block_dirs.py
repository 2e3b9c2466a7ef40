"""The block directories of an embedded engine: in memory if there is plenty, else on disk.

Blocks on a tmpfs take memory away from all other processes. The tmpfs is used only for a job whose
input is small against the free space there *and* against the available memory of the machine.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import psutil

from minispark import config
from minispark.blocks.cache import TMPFS, BlockCache, memory_budget, memory_home
from minispark.blocks.memory import read_memory
from minispark.blocks.store import BlockStore
from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.settings import CacheSettings
from minispark.worker.directory import WorkDirectory
from minispark.worker.spill import Spilling, spilling

_SHARE = 8
"""Free memory needed per byte of input. A job's blocks may be a multiple of its input; this leaves
room for four times the input on a half-filled tmpfs."""


class BlockDirectories:
    """Private directories for blocks, created on first use.

    They are removed at `close`, by the garbage collector or when the process ends. Directories of
    killed processes are removed when new ones are created.
    """

    def __init__(self, temp_dir: Path | None = None) -> None:
        self._disk = temp_dir or Path(tempfile.gettempdir())
        self._stores: dict[Path, BlockStore] = {}
        self._directories: list[WorkDirectory] = []
        weakref.finalize(self, _remove, self._directories, os.getpid())

    def store_for(self, input_bytes: int) -> BlockStore:
        """Return the store for the blocks of a job that reads ``input_bytes``."""
        return self._store(TMPFS if has_room(TMPFS, input_bytes) else self._disk)

    def cache(self, settings: CacheSettings) -> BlockCache | None:
        """Return a cache on disk and in memory; None if the settings give it no memory."""
        if not settings.memory_bytes:
            return None
        budget = memory_budget(TMPFS, settings.memory_bytes)
        memory = self._directory(memory_home(), "cache") if budget else None
        return BlockCache(
            self._store(self._disk).directory,
            memory=None if memory is None else memory.blocks,
            settings=replace(settings, memory_bytes=budget),
        )

    def spilling(self, slots: int, memory_limit_bytes: int | None) -> Spilling:
        """Return how each of ``slots`` executors moves data to disk."""
        home = self._store(self._disk).directory.parent
        memory = read_memory()
        return spilling(
            home / "spill", slots=slots, memory_limit_bytes=memory_limit_bytes, memory=memory
        )

    def delete(self, keys: Collection[TaskKey]) -> None:
        """Delete blocks from all stores."""
        for store in self._stores.values():
            store.delete(keys)

    def delete_job(self, job: str) -> None:
        """Delete every block of a job from all stores."""
        for store in self._stores.values():
            store.delete_job(job)

    def close(self) -> None:
        """Remove all directories."""
        _remove(self._directories, os.getpid())
        self._stores.clear()

    def _store(self, base: Path) -> BlockStore:
        if base not in self._stores:
            # Several users share the base: each has a folder of their own in it.
            directory = self._directory(base / f"minispark-{os.getuid()}", "p") or self._directory(
                config.secure_dir(config.state_dir()) / "blocks", "p"
            )
            if directory is None:
                msg = "there is no directory to store blocks in"
                raise UsageError(msg, code="MS-102", hint="Set TMPDIR to another directory.")
            self._stores[base] = BlockStore(directory.blocks)
        return self._stores[base]

    def _directory(self, home: Path, prefix: str) -> WorkDirectory | None:
        """Create a directory; return None if another user owns ``home``."""
        try:
            directory = WorkDirectory(home, f"{prefix}-{os.getpid()}-{secrets.token_hex(4)}")
        except UsageError:
            return None
        self._directories.append(directory)
        return directory


def has_room(tmpfs: Path, input_bytes: int) -> bool:
    """Whether the memory has plenty of room for the blocks of a job."""
    try:
        free = shutil.disk_usage(tmpfs).free
    except OSError:
        return False
    return input_bytes * _SHARE <= min(free, psutil.virtual_memory().available)


def _remove(directories: list[WorkDirectory], owner: int) -> None:
    # A forked child must not remove directories that its parent still uses.
    if os.getpid() == owner:
        for directory in directories:
            directory.remove()
        directories.clear()
