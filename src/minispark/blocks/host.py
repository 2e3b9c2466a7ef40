"""Which processes see the same files under the same names, and which see what was last written."""

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

from minispark.blocks.checksums import bytes_checksum

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


@contextmanager
def own_directory(path: Path) -> Iterator[int]:
    """Give a descriptor of a directory of this user.

    Where a block lies is said by the worker that has it. In a directory of another user its name
    may be a link to any file that this user can read, or change after it was verified.

    Raises
    ------
    PermissionError
        The directory belongs to another user.
    OSError
        It cannot be opened.
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
    """Open a plain file of this user to read it; return its descriptor.

    Raises
    ------
    PermissionError
        The file or its directory belongs to another user, or it is no plain file.
    OSError
        It cannot be opened.
    """
    with own_directory(directory) as place:
        # What a cache keeps may be a link into memory. A pipe must not be waited for.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=place)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        os.close(descriptor)
        msg = f"{directory / name} is not a plain file of this user"
        raise PermissionError(msg)
    return descriptor
