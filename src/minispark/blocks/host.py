"""Which processes see the same files under the same names."""

from __future__ import annotations

import platform
import uuid
from functools import cache
from pathlib import Path

from minispark.blocks.checksums import bytes_checksum

__all__ = ["host_identity"]


@cache
def host_identity() -> str:
    """Return a string that two processes share if they can map each other's files.

    On Linux: the same boot of the same kernel and the same mount namespace, so two containers
    of one machine differ. Elsewhere: the same machine. It is a promise about names, not about
    permission: a reader that cannot open a block after all asks the worker for it.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    mounts = Path("/proc/self/ns/mnt")
    try:
        what = f"{boot.read_text().strip()} {mounts.readlink()}"
    except OSError:
        root = Path("/").stat()
        what = f"{uuid.getnode()} {root.st_dev} {root.st_ino}"
    return f"{platform.node()}-{bytes_checksum(what.encode()):016x}"
