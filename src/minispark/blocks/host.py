"""Identifies hosts and disks, and opens only files of this user."""

from __future__ import annotations

import os
import platform
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil
import xxhash

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def host_identity() -> str:
    """Return a string that two processes share if they can map each other's files.

    On Linux: the same boot of the same kernel and the same mount namespace, so two containers
    of one machine differ. On other systems: the same machine. Equal strings mean equal names of
    files, not permission: a reader that cannot open a block asks the worker for it.
    """
    mounts = Path("/proc/self/ns/mnt")
    try:
        identity = f"{_BOOT.read_text().strip()} {mounts.readlink()}"
    except OSError:
        root = Path("/").stat()
        identity = f"{uuid.getnode()} {root.st_dev} {root.st_ino}"
    return f"{platform.node()}-{xxhash.xxh3_64_intdigest(identity.encode()):016x}"


def disk_identity(directory: Path) -> str:
    """Return a string that stays the same as long as a directory holds all that was written to it.

    It changes when the machine starts again (a power cut undoes writes that were not synced), and
    differs for a copy of the directory (the original may change).
    """
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        boot = f"{psutil.boot_time():.0f}"
    status = directory.stat()
    return f"{boot} {status.st_dev}:{status.st_ino}"


@contextmanager
def own_directory(path: Path) -> Iterator[int]:
    """Give a descriptor of a directory of this user.

    The worker that has a block names its directory. In a directory of another user the name of the
    block may be a link to any file that this user can read, or may change after it was verified.

    Raises
    ------
    PermissionError
        The directory belongs to another user.
    OSError
        The directory cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            msg = f"{path} belongs to another user"
            raise PermissionError(msg)
        yield descriptor
    finally:
        os.close(descriptor)


def open_own(directory: Path, name: str) -> int:
    """Open a plain file of this user for reading and return its descriptor.

    Raises
    ------
    PermissionError
        The file or its directory belongs to another user, or the file is not a plain file.
    OSError
        The file cannot be opened.
    """
    with own_directory(directory) as parent:
        # Links are followed: a cached block may be a link into memory. A pipe must not block.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=parent)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        os.close(descriptor)
        msg = f"{directory / name} is not a plain file of this user"
        raise PermissionError(msg)
    return descriptor
