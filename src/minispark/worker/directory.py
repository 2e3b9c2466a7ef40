"""The private directory of one life of a worker, removed with it.

On disk::

    <work dir>/           0700
      w-1f2e3d4c/         0700
        lock              held (flock) as long as the process lives
        blocks/           the block files

A process that is killed cannot clean up, so the next one that starts on the same work directory
sweeps away what nobody holds the lock of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from minispark.config import secure_dir


class WorkDirectory:
    """Made and locked when built; ``blocks`` is where the block files go."""

    def __init__(self, work_dir: Path, name: str) -> None:
        self.work_dir = secure_dir(work_dir)
        self.swept = sweep(work_dir)
        self.path = work_dir / name
        self._lock = self._make()
        self.blocks = secure_dir(self.path / "blocks")

    def _make(self) -> int:
        while True:
            secure_dir(self.path)
            with contextlib.suppress(FileNotFoundError):
                lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Another process may have swept the directory before it was locked.
                if os.fstat(lock).st_nlink > 0:
                    return lock
                os.close(lock)

    def remove(self) -> None:
        """Delete everything; doing it twice is fine."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1


def sweep(work_dir: Path) -> list[Path]:
    """Remove the directories of dead processes; return them."""
    swept: list[Path] = []
    for lock in sorted(work_dir.glob("*/lock")):
        with contextlib.suppress(OSError):
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)
                swept.append(lock.parent)
            finally:
                os.close(descriptor)
    return swept
