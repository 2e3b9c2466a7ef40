"""Whether a worker has room for more work: on its disk, and in memory.

"Full" means that the worker gets no new attempts; those that it has continue. A worker that passed
a limit stays full until a bit more than the limit is free again, so that it does not change with
every heartbeat.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from minispark.blocks.memory import Memory, read_memory
from minispark.blocks.store import BlockStore
from minispark.settings import CapacitySettings
from minispark.wire.messages import Full

_NO_MEMORY = Memory(1, 1)
"""If the system does not say how much memory it has, memory is never full."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Disk and memory of a worker, in bytes."""

    disk_bytes: int
    disk_free_bytes: int
    block_bytes: int
    """Blocks that running jobs may need, without the cache, which shrinks by itself."""
    memory_bytes: int
    memory_free_bytes: int
    task_bytes: int
    """Anonymous memory of all executors."""


def read_sizes(store: BlockStore, task_bytes: int) -> Readings:
    """Return the current sizes of disk and memory."""
    disk, memory = shutil.disk_usage(store.directory), read_memory() or _NO_MEMORY
    return Readings(
        disk.total,
        disk.free,
        store.bytes_of_jobs(),
        memory.total_bytes,
        memory.free_bytes,
        task_bytes,
    )


class CapacityGate:
    """Compares sizes with the limits; remembers which were passed.

    Parameters
    ----------
    read_sizes
        Reads disk and memory.
    disk_limit_bytes, memory_limit_bytes
        Limits of the blocks, and of all executors together; None for what the machine has.
    """

    def __init__(
        self,
        read_sizes: Callable[[], Readings],
        *,
        disk_limit_bytes: int | None = None,
        memory_limit_bytes: int | None = None,
        settings: CapacitySettings | None = None,
    ) -> None:
        self._read_sizes = read_sizes
        self._disk_limit = disk_limit_bytes
        self._memory_limit = memory_limit_bytes
        self._settings = settings or CapacitySettings()
        self._full: frozenset[str] = frozenset()

    def read(self) -> tuple[Full | None, dict[str, float]]:
        """Return what is full, "disk" or "memory", and sizes for the heartbeat."""
        sizes = self._read_sizes()
        shares: dict[Full, float] = {
            "disk": max(
                self._share_of_all(sizes.disk_bytes, sizes.disk_free_bytes),
                self._share_of_limit(sizes.block_bytes, self._disk_limit),
            ),
            "memory": max(
                self._share_of_all(sizes.memory_bytes, sizes.memory_free_bytes),
                self._share_of_limit(sizes.task_bytes, self._memory_limit),
            ),
        }
        relief = self._settings.relief
        self._full = frozenset(
            what for what, share in shares.items()
            if share >= (1.0 - relief if what in self._full else 1.0)
        )  # fmt: skip
        metrics = {
            "disk_free_bytes": float(sizes.disk_free_bytes),
            "block_bytes": float(sizes.block_bytes),
        }
        return next((what for what in shares if what in self._full), None), metrics

    def _share_of_limit(self, used: int, limit: int | None) -> float:
        """Return how much of a limit is used; 1 is full."""
        return 0.0 if limit is None else used / (limit * self._settings.high_water)

    def _share_of_all(self, total: int, free: int) -> float:
        settings = self._settings
        reserve = min(total * settings.reserve, settings.reserve_bytes)
        return 1.0 + (reserve - free) / max(1.0, reserve)
