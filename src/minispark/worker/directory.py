"""The private directory of a worker process, removed at its end.

On disk::

    <work dir>/           0700
      w-1f2e3d4c/         0700
        lock              locked (flock) while the process lives
        blocks/           the block files

A killed process cannot clean up, so the next one that starts on the same work directory removes
the directories that no process has locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from minispark.config import secure_dir


class WorkDirectory:
    """A directory that the constructor makes and locks; block files are in ``blocks``."""

    def __init__(self, work_dir: Path, name: str) -> None:
        secure_dir(work_dir)
        sweep(work_dir)
        self.path = work_dir / name
        self._lock = self._make_locked()
        self.blocks = secure_dir(self.path / "blocks")

    def _make_locked(self) -> int:
        while True:
            secure_dir(self.path)
            with contextlib.suppress(FileNotFoundError):
                lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Another process may have removed the directory before it was locked.
                if os.fstat(lock).st_nlink > 0:
                    return lock
                os.close(lock)

    def remove(self) -> None:
        """Delete the directory; a second call does nothing."""
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
