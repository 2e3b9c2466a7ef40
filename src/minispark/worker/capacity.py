"""Whether a worker has room for more work: on its disk, and in memory.

What it has been given it goes on with: "full" means that no new attempt should come. A mark that
was passed holds until a bit more than the mark is free again, so that a worker on the brink does
not say something else with every heartbeat.
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
"""Where the system does not tell, memory never stands in the way."""


@dataclass(frozen=True, slots=True)
class Readings:
    """How much there is and how much of it is taken, in bytes."""

    disk_bytes: int
    disk_free_bytes: int
    block_bytes: int
    """Of blocks that running jobs may need; what is kept for later ones makes way by itself."""
    memory_bytes: int
    memory_free_bytes: int
    task_bytes: int
    """Anonymous memory of all executors."""


def read(store: BlockStore, task_bytes: int) -> Readings:
    """Look at the disk of the blocks, and at the memory."""
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
    """Compares readings with the marks; remembers which were passed.

    Parameters
    ----------
    look
        Reads disk and memory, see `read`.
    disk_limit_bytes, memory_limit_bytes
        How much the blocks, and all executors together, may take; None for what there is.
    """

    def __init__(
        self,
        look: Callable[[], Readings],
        *,
        disk_limit_bytes: int | None = None,
        memory_limit_bytes: int | None = None,
        settings: CapacitySettings | None = None,
    ) -> None:
        self._look = look
        self._disk_limit = disk_limit_bytes
        self._memory_limit = memory_limit_bytes
        self._settings = settings or CapacitySettings()
        self._full: frozenset[str] = frozenset()

    def ask(self) -> tuple[Full | None, dict[str, float]]:
        """Return why no more work should come, "disk" or "memory", and what was read."""
        found = self._look()
        passed: dict[Full, float] = {
            "disk": self._disk_share(found),
            "memory": self._memory_share(found),
        }
        relief = self._settings.relief
        self._full = frozenset(
            what for what, share in passed.items()
            if share >= (1.0 - relief if what in self._full else 1.0)
        )  # fmt: skip
        figures = {
            "disk_free_bytes": float(found.disk_free_bytes),
            "block_bytes": float(found.block_bytes),
        }
        return next((what for what in passed if what in self._full), None), figures

    def _disk_share(self, found: Readings) -> float:
        """Return how much of what may be used is; 1 is the mark."""
        shares = [self._of_all(found.disk_bytes, found.disk_free_bytes)]
        if self._disk_limit is not None:
            shares.append(found.block_bytes / (self._disk_limit * self._settings.high_water))
        return max(shares)

    def _memory_share(self, found: Readings) -> float:
        shares = [self._of_all(found.memory_bytes, found.memory_free_bytes)]
        if self._memory_limit is not None:
            shares.append(found.task_bytes / (self._memory_limit * self._settings.high_water))
        return max(shares)

    def _of_all(self, total: int, free: int) -> float:
        settings = self._settings
        reserve = min(total * settings.reserve, settings.reserve_bytes)
        return 1.0 + (reserve - free) / max(1.0, reserve)
