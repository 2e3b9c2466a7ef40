"""The memory of the machine and of the control group that can still be used.

Pages of files, such as mapped blocks, do not count as used if the kernel can drop them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_OWN_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """The size of a memory, and how much of it can still be used, in bytes."""

    total_bytes: int
    free_bytes: int

    def beyond(self, reserve: float) -> int:
        """Return what can be used if a share of the total stays free; negative if it does not."""
        return self.free_bytes - int(self.total_bytes * reserve)


def read_memory(
    *,
    reserve: float = 0.0,
    meminfo: Path = _MEMINFO,
    own_group: Path = _OWN_GROUP,
    groups: Path = _GROUPS,
) -> Memory | None:
    """Return the memory that limits this process and its children, None on an unknown system.

    That is the machine, or a control group (version 2) above this process: the one with the least
    free memory beyond ``reserve``, which is a share of each total.
    """
    memories = [*_machine(meminfo), *_control_groups(own_group, groups)]
    return min(memories, key=lambda memory: memory.beyond(reserve), default=None)


def _machine(meminfo: Path) -> Iterator[Memory]:
    pairs = (line.partition(":") for line in _lines(meminfo))
    kib = {name: int(rest.split()[0]) for name, _, rest in pairs if rest}
    if {"MemTotal", "MemAvailable"} <= kib.keys():
        yield Memory(kib["MemTotal"] * _KIB, kib["MemAvailable"] * _KIB)


def _control_groups(own_group: Path, groups: Path) -> Iterator[Memory]:
    name = next((line[3:] for line in _lines(own_group) if line.startswith("0::")), None)
    if name is None:
        return
    own = groups / name.strip().lstrip("/")
    for group in (own, *own.parents):
        if not group.is_relative_to(groups):
            return
        numbers = (_number(group / name) for name in ("memory.max", "memory.high"))
        limits = [limit for limit in numbers if limit is not None]
        used = _number(group / "memory.current")
        if limits and used is not None:
            limit = min(limits)
            yield Memory(limit, max(0, limit - (used - _reclaimable(group))))


def _reclaimable(group: Path) -> int:
    stat = dict(line.split() for line in _lines(group / "memory.stat"))
    return sum(int(stat.get(name, 0)) for name in ("active_file", "inactive_file"))


def _number(path: Path) -> int | None:
    """Return the number in a file, None for ``max`` and if there is no file."""
    text = next(iter(_lines(path)), "")
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().splitlines()
    return []
