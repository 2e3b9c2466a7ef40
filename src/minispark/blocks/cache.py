"""Blocks that a worker keeps for later jobs: in memory while they fit, else on disk.

::

    <block directory>/                   on disk
      cache-3f..e1.0.0.5.0.arrow         a file, or a link to
    <tmpfs>/minispark-<uid>/<worker>/
      cache-3f..e1.0.0.5.0.arrow         one in memory

So a kept block lies under one name, whatever tier it is in, and is mapped and served like any
other; its job is the cache. The name says what it holds: the fingerprint of a plan and of its input
files, and a partition. Nobody's executor owns it: it stays when one dies.

Two budgets are kept at every moment: that of the memory, within what the tmpfs really has free
(room is reserved before a byte is written: a full tmpfs kills at the page fault), and that of the
disk. What was used longest ago goes from memory to disk, and from disk to nothing. Blocks of one
node do not push each other out of memory: of rows that are read in turn, those would always go that
come next.

Covers: the ledger of one worker. Does not cover: who may read what (`minispark.master`), when rows
are the same (`minispark.plan.fingerprint`).
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
"""The job of kept blocks, as their names have it, begins with this."""
TMPFS = Path("/dev/shm")  # noqa: S108 - what lies there is private to its owner
_COPY_BYTES = 1 << 20
_MAX_REMOVED = 10_000
"""Removals that are remembered; who asks for changes since before is told everything."""

FreeBytes = Callable[[Path], int]
"""How many bytes may still be written to where a directory is."""


def kept_key(fingerprint: str, partition: int) -> TaskKey:
    """Return the name under which a partition of a cached node is kept."""
    return TaskKey(f"{CACHE_PREFIX}{fingerprint}", 0, 0, partition, 0)


def memory_home() -> Path:
    """Return where this user's private directories in memory are."""
    return TMPFS / f"minispark-{os.getuid()}"


def memory_budget(tmpfs: Path, wanted_bytes: int) -> int:
    """Return how much of a tmpfs a cache may take: half of it, since others use it too.

    And half of the memory, which in a container is what its control group may have.
    """
    memory = read_memory()
    try:
        half = shutil.disk_usage(tmpfs).total // 2
    except OSError:
        return 0
    return min(wanted_bytes, half if memory is None else min(half, memory.total_bytes // 2))


def memory_room(directory: Path, reserve: float) -> int:
    """Return how much a tmpfs can still take, less than nothing where it has taken too much.

    Its pages are memory that nobody else can have, in the machine or in the control group.
    """
    free, memory = shutil.disk_usage(directory).free, read_memory(reserve=reserve)
    return free if memory is None else min(free, memory.beyond(reserve))


@dataclass(frozen=True, slots=True)
class KeptBlock:
    """A block in a cache, and its receipt."""

    key: TaskKey
    meta: BlockMeta


@dataclass(frozen=True, slots=True)
class CacheChanges:
    """What a cache holds at ``version`` of all that has changed after ``since`` (0: all)."""

    since: Count
    version: Count
    added: Annotated[tuple[KeptBlock, ...], Items] = ()
    removed: Annotated[tuple[TaskKey, ...], Items] = ()


@dataclass(slots=True)
class _Entry:
    meta: BlockMeta
    bytes: int
    in_memory: bool


class BlockCache:
    """The ledger; any thread may call it.

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
        """The one used longest ago first."""
        self._added: dict[TaskKey, int] = {}
        """Since which version each is here, in that order."""
        self._in_memory: Counter[str] = Counter()
        """How many blocks in memory are of each node."""
        self._removed: dict[TaskKey, int] = {}
        self._forgotten = 0
        self.version = 0
        self.memory_bytes = 0
        self.disk_bytes = 0
        self.hits = 0
        self.misses = 0
        self.spills = 0

    def get(self, key: TaskKey) -> BlockMeta | None:
        """Return the receipt of a kept block; it was not used by that."""
        found = self._entries.get(key)
        return None if found is None else found.meta

    def put(self, key: TaskKey, meta: BlockMeta, source: Path) -> bool:
        """Keep a block that lies in ``source``; one that is here already stays as it is.

        False where there is no room for it, or it is gone.
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
        """Note that jobs begin with these: they go last, and each is a hit."""
        with self._lock:
            for key in keys:
                if key in self._entries:
                    self.hits += 1
                    self._entries[key] = self._entries.pop(key)

    def missed(self) -> None:
        """Note that something was computed for want of a kept block."""
        self.misses += 1

    def drop(self, keys: Iterable[TaskKey]) -> None:
        """Remove blocks; those that are not here are no error. Who has mapped one keeps it."""
        with self._lock:
            for key in keys:
                self._drop(key)

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            for key in list(self._entries):
                self._drop(key)

    def preempt_prefetched(self) -> None:
        """Give back what others need of the memory and of the disk."""
        with self._lock:
            while self.memory is not None and self._memory_room(self.memory) < 0:
                oldest = self._oldest(in_memory=True)
                if oldest is None:
                    break
                self._spill(oldest)
            while self._disk_lacks(0) and self._drop_oldest():
                pass

    def changes(self, since: int) -> CacheChanges:
        """Return what has changed after a version; everything where that is too long ago."""
        with self._lock:
            if not self._forgotten <= since <= self.version:
                since = 0
            added = tuple(KeptBlock(k, self._entries[k].meta) for k in _after(since, self._added))
            removed = tuple(_after(since, self._removed)) if since else ()
            return CacheChanges(since, self.version, added, removed)

    def figures(self) -> dict[str, float]:
        """Return what a worker says of its cache."""
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
            oldest = self._oldest(in_memory=True, but=key.job)
            if oldest is None:
                return False
            self._spill(oldest)
        place = self.memory / self._name(key)
        try:
            _bring(source, place, size)
        except OSError:  # Somebody else was faster, or the limit is not that of the tmpfs.
            return False
        link = self._staged(key)
        link.symlink_to(place)
        link.replace(self._path(key))
        return True

    def _spill(self, key: TaskKey) -> None:
        """Bring a block from memory to disk, or to nothing where that has no room either."""
        entry = self._entries[key]
        try:
            kept = self._onto_disk(key, entry.bytes, self._path(key).resolve())
        except OSError:
            kept = False
        if not kept:
            self._drop(key)
            return
        if self.memory is not None:
            with suppress(OSError):
                (self.memory / self._name(key)).unlink(missing_ok=True)
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
        _bring(source, staged, size)
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

    # The books.

    def _oldest(self, *, in_memory: bool, but: str = "") -> TaskKey | None:
        if in_memory and self._in_memory[but] == self._in_memory.total():
            return None  # Without a look: a node may have tens of thousands.
        entries = self._entries.items()
        return next((k for k, e in entries if e.in_memory is in_memory and k.job != but), None)

    def _count(self, key: TaskKey, size: int, *, in_memory: bool) -> None:
        """Add to a tier, or take away what is negative."""
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
        places = [self._path(key), self._staged(key)]
        if self.memory is not None:
            places.append(self.memory / self._name(key))
        for place in places:
            # The ledger stays right: a file that cannot be removed goes with the directory.
            with suppress(OSError):
                place.unlink(missing_ok=True)

    def _path(self, key: TaskKey) -> Path:
        return self.directory / self._name(key)

    def _staged(self, key: TaskKey) -> Path:
        return self.directory / f"{self._name(key)}.tmp"

    def _name(self, key: TaskKey) -> str:
        return f"{key.block_id}{DATA_SUFFIX}"


def _after(since: int, versions: dict[TaskKey, int]) -> Iterator[TaskKey]:
    """Yield what came after a version, the latest first."""
    return takewhile(lambda key: versions[key] > since, reversed(versions))


def _bring(source: Path, target: Path, size: int) -> None:
    """Link a file, or copy it where it lies on another file system."""
    try:
        target.hardlink_to(source)
    except OSError:
        _copy(source, target, size)


def _copy(source: Path, target: Path, size: int) -> None:
    """Copy a file; whatever goes wrong, nothing is left. All room is reserved first."""
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
