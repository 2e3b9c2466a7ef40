"""The blocks that a worker keeps for later jobs: in memory if there is room, else on disk.

::

    <block directory>/                   on disk
      cache-3f..e1.0.0.5.0.arrow         a file, or a link to the file in memory:
    <tmpfs>/minispark-<uid>/<worker>/
      cache-3f..e1.0.0.5.0.arrow

So a cached block has the same name in both tiers, and is mapped and served like any other block.
The name says what the block holds: the fingerprint of a plan and of its input files, and a
partition. No executor owns it, so it survives the end of an executor.

The budgets of memory and disk are never exceeded, nor the free bytes of the tmpfs (room is reserved
before a byte is written: a full tmpfs kills a process at the page fault). The least recently used
blocks move from memory to disk, and from disk they are removed. Blocks of one node do not push each
other out of memory: if the rows are read in order, each push would remove the block that is read
next.

Covers: the ledger of one worker. Does not cover: which job may read which block
(`minispark.master`), when rows are the same (`minispark.plan.fingerprint`).
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Annotated

from minispark.blocks.memory import read_memory
from minispark.blocks.meta import DATA_SUFFIX, BlockMeta
from minispark.bounds import Count, Items
from minispark.ids import TaskKey
from minispark.settings import CacheSettings

CACHE_PREFIX = "cache-"
"""Prefix of the job in the names of cached blocks."""
TMPFS = Path("/dev/shm")  # noqa: S108 - only private directories are made there
_COPY_BYTES = 1 << 20
_MAX_REMOVED = 10_000
"""Removals that are remembered; a question about older changes is answered with everything."""

FreeBytes = Callable[[Path], int]
"""Returns how many bytes may still be written to a directory."""


def cache_key(fingerprint: str, partition: int) -> TaskKey:
    """Return the name of the block of a partition of a cached node."""
    return TaskKey(f"{CACHE_PREFIX}{fingerprint}", 0, 0, partition, 0)


def memory_home() -> Path:
    """Return the directory of this user's private directories in memory."""
    return TMPFS / f"minispark-{os.getuid()}"


def memory_budget(tmpfs: Path, wanted_bytes: int) -> int:
    """Return how much of a tmpfs a cache may use, at most ``wanted_bytes``.

    It is at most half of the tmpfs, which others use too, and at most half of the memory of the
    machine, or of the control group of a container.
    """
    memory = read_memory()
    try:
        half = shutil.disk_usage(tmpfs).total // 2
    except OSError:
        return 0
    return min(wanted_bytes, half if memory is None else min(half, memory.total_bytes // 2))


def memory_room(directory: Path, reserve: float) -> int:
    """Return how many bytes a tmpfs can still take; negative if it has taken too many.

    Its pages use up the memory of the machine or of the control group.
    """
    free, memory = shutil.disk_usage(directory).free, read_memory(reserve=reserve)
    return free if memory is None else min(free, memory.beyond(reserve))


@dataclass(frozen=True, slots=True)
class CachedBlock:
    """The name of a block in a cache, and its receipt."""

    key: TaskKey
    meta: BlockMeta


@dataclass(frozen=True, slots=True)
class CacheChanges:
    """The blocks added and removed after the version ``since`` (0: all blocks), at ``version``."""

    since: Count
    version: Count
    added: Annotated[tuple[CachedBlock, ...], Items] = ()
    removed: Annotated[tuple[TaskKey, ...], Items] = ()


@dataclass(slots=True)
class _Entry:
    meta: BlockMeta
    bytes: int
    in_memory: bool


class BlockCache:
    """The ledger of the cached blocks of a worker; any thread may call it.

    Parameters
    ----------
    directory
        The block directory.
    memory
        A private directory on a tmpfs; None keeps everything on disk.
    """

    def __init__(
        self,
        directory: Path,
        *,
        memory: Path | None,
        settings: CacheSettings,
        room: FreeBytes | None = None,
    ) -> None:
        self.directory = directory
        self.memory = memory
        self.settings = settings
        self._memory_room = room or partial(memory_room, reserve=settings.reserve)
        self._lock = threading.Lock()
        self._entries: dict[TaskKey, _Entry] = {}
        """The least recently used first."""
        self._added: dict[TaskKey, int] = {}
        """The version at which each block was added, in that order."""
        self._in_memory: Counter[str] = Counter()
        """The number of blocks in memory by node."""
        self._removed: dict[TaskKey, int] = {}
        self._forgotten = 0
        self.version = 0
        self.memory_bytes = 0
        self.disk_bytes = 0
        self.hits = 0
        self.misses = 0
        self.spills = 0

    def get(self, key: TaskKey) -> BlockMeta | None:
        """Return the receipt of a cached block; that does not count as use."""
        entry = self._entries.get(key)
        return None if entry is None else entry.meta

    def put(self, key: TaskKey, meta: BlockMeta, source: Path) -> bool:
        """Cache the block in the file ``source``; one that is cached already stays as it is.

        Return False if there is no room for the block, or the file is missing.
        """
        with self._lock:
            if key in self._entries:
                self._entries[key] = self._entries.pop(key)
                return True
            try:
                size = source.stat().st_size
                in_memory = self._into_memory(key, size, source)
                if not in_memory and not self._onto_disk(key, size, source):
                    return False
            except OSError:
                self._remove_files(key)
                return False
            self.version += 1
            self._removed.pop(key, None)
            self._added[key] = self.version
            self._entries[key] = _Entry(meta, size, in_memory)
            self._count(key, size, in_memory=in_memory)
            self.spills += not in_memory
            return True

    def use(self, keys: Iterable[TaskKey]) -> None:
        """Count a hit for each block, and mark it as most recently used."""
        with self._lock:
            for key in keys:
                if key in self._entries:
                    self.hits += 1
                    self._entries[key] = self._entries.pop(key)

    def missed(self) -> None:
        """Count a block that was computed because it was not cached."""
        self.misses += 1

    def drop(self, keys: Iterable[TaskKey]) -> None:
        """Remove blocks. Missing ones are no error; a reader that mapped a block keeps it."""
        with self._lock:
            for key in keys:
                self._drop(key)

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            for key in list(self._entries):
                self._drop(key)

    def make_room(self) -> None:
        """Free memory and disk until the reserves of both are free again."""
        with self._lock:
            while self.memory is not None and self._memory_room(self.memory) < 0:
                oldest = self._oldest(in_memory=True)
                if oldest is None:
                    break
                self._spill(oldest)
            while self._disk_lacks(0) and self._drop_oldest():
                pass

    def changes(self, since: int) -> CacheChanges:
        """Return what has changed after a version, everything if that is too long ago."""
        with self._lock:
            if not self._forgotten <= since <= self.version:
                since = 0
            added = tuple(CachedBlock(k, self._entries[k].meta) for k in _after(since, self._added))
            removed = tuple(_after(since, self._removed)) if since else ()
            return CacheChanges(since, self.version, added, removed)

    def figures(self) -> dict[str, float]:
        """Return the metrics of the cache."""
        return {
            "cache_bytes": float(self.memory_bytes),
            "cache_disk_bytes": float(self.disk_bytes),
            "cache_blocks": float(len(self._entries)),
            "cache_hits": float(self.hits),
            "cache_misses": float(self.misses),
            "cache_spills": float(self.spills),
        }

    # Memory.

    def _into_memory(self, key: TaskKey, size: int, source: Path) -> bool:
        budget = self.settings.memory_bytes
        if self.memory is None or not 0 < size <= budget:
            return False
        while self.memory_bytes + size > budget or self._memory_room(self.memory) < size:
            oldest = self._oldest(in_memory=True, not_of=key.job)
            if oldest is None:
                return False
            self._spill(oldest)
        file = self.memory / self._name(key)
        try:
            _link_or_copy(source, file, size)
        except OSError:  # Another process was faster, or the limit is not that of the tmpfs.
            return False
        link = self._staged(key)
        link.symlink_to(file)
        link.replace(self._path(key))
        return True

    def _spill(self, key: TaskKey) -> None:
        """Move a block from memory to disk, or remove it if the disk has no room either."""
        entry = self._entries[key]
        file = self._path(key).resolve()
        try:
            on_disk = self._onto_disk(key, entry.bytes, file)
        except OSError:
            on_disk = False
        if not on_disk:
            self._drop(key)
            return
        with suppress(OSError):
            file.unlink(missing_ok=True)
        self._count(key, -entry.bytes, in_memory=True)
        self._count(key, entry.bytes, in_memory=False)
        entry.in_memory = False
        self.spills += 1

    # Disk.

    def _onto_disk(self, key: TaskKey, size: int, source: Path) -> bool:
        if size > self.settings.disk_bytes:
            return False
        while self.disk_bytes + size > self.settings.disk_bytes or self._disk_lacks(size):
            if not self._drop_oldest():
                return False
        staged = self._staged(key)
        _link_or_copy(source, staged, size)
        staged.replace(self._path(key))
        return True

    def _disk_lacks(self, size: int) -> bool:
        usage = shutil.disk_usage(self.directory)
        return usage.free - size < usage.total * self.settings.reserve

    def _drop_oldest(self) -> bool:
        oldest = self._oldest(in_memory=False)
        if oldest is not None:
            self._drop(oldest)
        return oldest is not None

    # The ledger.

    def _oldest(self, *, in_memory: bool, not_of: str = "") -> TaskKey | None:
        if in_memory and self._in_memory[not_of] == self._in_memory.total():
            return None  # Without a search: a node may have tens of thousands of blocks.
        entries = self._entries.items()
        return next((k for k, e in entries if e.in_memory is in_memory and k.job != not_of), None)

    def _count(self, key: TaskKey, size: int, *, in_memory: bool) -> None:
        """Add the bytes of a block to a tier; negative bytes remove it."""
        if in_memory:
            self.memory_bytes += size
            self._in_memory[key.job] += 1 if size > 0 else -1
            if not self._in_memory[key.job]:
                del self._in_memory[key.job]
        else:
            self.disk_bytes += size

    def _drop(self, key: TaskKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._count(key, -entry.bytes, in_memory=entry.in_memory)
        self._remove_files(key)
        del self._added[key]
        self.version += 1
        self._removed[key] = self.version
        if len(self._removed) > _MAX_REMOVED:
            self._forgotten = self._removed.pop(next(iter(self._removed)))

    def _remove_files(self, key: TaskKey) -> None:
        files = [self._path(key), self._staged(key)]
        if self.memory is not None:
            files.append(self.memory / self._name(key))
        for file in files:
            # A file that cannot be removed is removed with the directory; the ledger stays right.
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _path(self, key: TaskKey) -> Path:
        return self.directory / self._name(key)

    def _staged(self, key: TaskKey) -> Path:
        return self.directory / f"{self._name(key)}.tmp"

    def _name(self, key: TaskKey) -> str:
        return f"{key.block_id}{DATA_SUFFIX}"


def _after(since: int, versions: dict[TaskKey, int]) -> Iterator[TaskKey]:
    """Yield the keys whose version is later, the latest first."""
    return takewhile(lambda key: versions[key] > since, reversed(versions))


def _link_or_copy(source: Path, target: Path, size: int) -> None:
    """Link a file, or copy it if it is on another file system."""
    try:
        target.hardlink_to(source)
    except OSError:
        _copy(source, target, size)


def _copy(source: Path, target: Path, size: int) -> None:
    """Copy a file, and remove the copy after any error. All room is reserved first."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(target, flags, 0o600), "wb") as out, source.open("rb") as data:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(out.fileno(), 0, size)
            shutil.copyfileobj(data, out, _COPY_BYTES)
            if out.tell() != size:
                msg = f"{source} changed while it was copied"
                raise OSError(msg)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
