"""Which processes see the same files under the same names, and which see what was last written."""

from __future__ import annotations

import platform
import uuid
from functools import cache
from pathlib import Path

import psutil

from minispark.blocks.checksums import bytes_checksum

__all__ = ["disk_identity", "host_identity"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def host_identity() -> str:
    """Return a string that two processes share if they can map each other's files.

    On Linux: the same boot of the same kernel and the same mount namespace, so two containers
    of one machine differ. Elsewhere: the same machine. It is a promise about names, not about
    permission: a reader that cannot open a block after all asks the worker for it.
    """
    mounts = Path("/proc/self/ns/mnt")
    try:
        what = f"{_BOOT.read_text().strip()} {mounts.readlink()}"
    except OSError:
        root = Path("/").stat()
        what = f"{uuid.getnode()} {root.st_dev} {root.st_ino}"
    return f"{platform.node()}-{bytes_checksum(what.encode()):016x}"


def disk_identity(directory: Path) -> str:
    """Return a string that stays while all that was written to a directory can be read there.

    It is another after the machine has started again (a power cut undoes writes that were not
    synced), and for a copy of the directory (its original may be written to).
    """
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        boot = f"{psutil.boot_time():.0f}"
    found = directory.stat()
    return f"{boot} {found.st_dev}:{found.st_ino}"
