"""Where an embedded engine keeps its blocks: in memory if there is plenty, else on disk.

Blocks on a tmpfs are memory that nobody else can have, so it is used only for a job whose input
is small against what is free there *and* against the memory that is available at all.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import psutil

from minispark import config
from minispark.blocks.cache import TMPFS, BlockCache, memory_budget, memory_home
from minispark.blocks.store import BlockStore
from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.settings import CacheSettings
from minispark.worker.directory import WorkDirectory

_SHARE = 8
"""A job's blocks may be a multiple of its input; this leaves room for four times as much on a
half-filled tmpfs."""


class BlockDirectories:
    """Private directories, made on first use.

    They are removed at `close`, by the garbage collector or when the process ends; those of
    killed processes are swept when new ones are made.
    """

    def __init__(self, temp_dir: Path | None = None) -> None:
        self._disk = temp_dir or Path(tempfile.gettempdir())
        self._stores: dict[Path, BlockStore] = {}
        self._made: list[WorkDirectory] = []
        weakref.finalize(self, _remove, self._made, os.getpid())

    def store_for(self, input_bytes: int) -> BlockStore:
        """Return where the blocks of a job with so much input go."""
        fits = has_room(TMPFS, input_bytes)
        return self._store(TMPFS if fits else self._disk)

    def cache(self, settings: CacheSettings) -> BlockCache | None:
        """Return a cache on disk and in memory, None for one that may have no memory."""
        if not settings.memory_bytes:
            return None
        budget = memory_budget(TMPFS, settings.memory_bytes)
        memory = self._directory(memory_home(), "cache") if budget else None
        return BlockCache(
            self._store(self._disk).directory,
            memory=None if memory is None else memory.blocks,
            settings=replace(settings, memory_bytes=budget),
        )

    def delete(self, keys: Iterable[TaskKey]) -> None:
        """Delete blocks, wherever they are."""
        wanted = list(keys)
        for store in self._stores.values():
            store.delete(wanted)

    def delete_job(self, job: str) -> None:
        """Delete every block of a job, wherever it is."""
        for store in self._stores.values():
            store.delete_job(job)

    def close(self) -> None:
        """Remove everything."""
        _remove(self._made, os.getpid())
        self._stores.clear()

    def _store(self, base: Path) -> BlockStore:
        if base not in self._stores:
            made = self._directory(base / _own_name(), "p")
            if made is None:
                made = self._directory(config.secure_dir(config.state_dir()) / "blocks", "p")
            if made is None:
                msg = "blocks can be kept nowhere"
                raise UsageError(msg, code="MS-102", hint="Name another place with TMPDIR.")
            self._stores[base] = BlockStore(made.blocks)
        return self._stores[base]

    def _directory(self, home: Path, what: str) -> WorkDirectory | None:
        """Make a directory, None where somebody else has taken the name of ``home``."""
        try:
            made = WorkDirectory(home, f"{what}-{os.getpid()}-{secrets.token_hex(4)}")
        except UsageError:
            return None
        self._made.append(made)
        return made


def _own_name() -> str:
    return f"minispark-{os.getuid()}"


def has_room(tmpfs: Path, input_bytes: int) -> bool:
    """Whether the blocks of a job can lie in memory without anybody missing it."""
    try:
        free = shutil.disk_usage(tmpfs).free
    except OSError:
        return False
    return input_bytes * _SHARE <= min(free, psutil.virtual_memory().available)


def _remove(made: list[WorkDirectory], owner: int) -> None:
    # A forked child must not remove what its parent still uses.
    if os.getpid() == owner:
        for directory in made:
            directory.remove()
        made.clear()
