"""One owner of a state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from minispark.errors import UsageError


class StateLock:
    """Held as long as the master lives; the kernel lets go of it when the process ends."""

    def __init__(self, state: Path) -> None:
        path = state / "lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            msg = f"another master (process {owner or 'unknown'}) is using {state}"
            raise UsageError(
                msg,
                code="MS-108",
                file=str(state),
                hint="Stop it first, or start this one with another --state-dir.",
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let the next master in."""
        os.close(self._descriptor)
