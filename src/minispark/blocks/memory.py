"""How much memory may still be taken: by the machine's figures and those of the control group.

Pages of files are not counted as taken where the kernel can let go of them: mapped blocks are.
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
    """What there is and what of it may still be taken, in bytes."""

    total_bytes: int
    free_bytes: int

    def beyond(self, reserve: float) -> int:
        """Return what may be taken so that a share of all stays free; less than 0: too much is."""
        return self.free_bytes - int(self.total_bytes * reserve)


def read_memory(
    *,
    reserve: float = 0.0,
    meminfo: Path = _MEMINFO,
    own_group: Path = _OWN_GROUP,
    groups: Path = _GROUPS,
) -> Memory | None:
    """Return what this process and its children may take before the kernel steps in.

    That of the machine, or of the control group (version 2) above this process that leaves least,
    where a share of each (``reserve``) is to stay free. None where the system does not tell.
    """
    rooms = [*_machine(meminfo), *_groups(own_group, groups)]
    return min(rooms, key=lambda room: room.beyond(reserve), default=None)


def _machine(meminfo: Path) -> Iterator[Memory]:
    kib = {name: int(rest.split()[0]) for name, _, rest in map(_parted, _lines(meminfo)) if rest}
    if {"MemTotal", "MemAvailable"} <= kib.keys():
        yield Memory(kib["MemTotal"] * _KIB, kib["MemAvailable"] * _KIB)


def _groups(own_group: Path, groups: Path) -> Iterator[Memory]:
    name = next((line[3:] for line in _lines(own_group) if line.startswith("0::")), None)
    if name is None:
        return
    here = groups / name.strip().lstrip("/")
    for group in (here, *here.parents):
        if not group.is_relative_to(groups):
            return
        limits = (_number(group / name) for name in ("memory.max", "memory.high"))
        given = [limit for limit in limits if limit is not None]
        taken = _number(group / "memory.current")
        if given and taken is not None:
            limit = min(given)
            yield Memory(limit, max(0, limit - (taken - _reclaimable(group))))


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _reclaimable(group: Path) -> int:
    stat = dict(line.split() for line in _lines(group / "memory.stat"))
    return sum(int(stat.get(name, 0)) for name in ("active_file", "inactive_file"))


def _number(path: Path) -> int | None:
    """Return the number in a file, None for ``max`` and for no file."""
    for line in _lines(path):
        return int(line) if line.isdigit() else None
    return None


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().splitlines()
    return []
