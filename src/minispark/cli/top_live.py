"""The loop of ``top``: looks, draws, listens to the keyboard."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import tty
from collections.abc import Iterator
from dataclasses import replace

from rich.live import Live

from minispark.cli.terminal import output
from minispark.cli.top_frame import ClusterSnapshot, frame, look
from minispark.engines.http import MasterClient
from minispark.errors import MasterUnreachableError

_TOLD = 50
"""Happenings of workers that are remembered."""


def watch(client: MasterClient, seen: ClusterSnapshot, *, interval_s: float) -> None:
    """Show the cluster until q is pressed."""
    with _keys() as pressed, Live(console=output, screen=True, auto_refresh=False) as live:
        while True:
            live.update(frame(seen, height=output.height), refresh=True)
            if pressed(interval_s) in ("q", "Q", "\x1b", "\x04"):
                return
            seen = next_look(client, seen)


def next_look(client: MasterClient, before: ClusterSnapshot) -> ClusterSnapshot:
    """Look again, and tell what became of workers meanwhile; without a master show what was."""
    try:
        now = look(client)
    except MasterUnreachableError as error:
        return replace(before, trouble=f"{error.info.message}; trying again")
    old = {worker.worker_id: worker.status for worker in before.system.workers}
    told = [
        (now.system.at, f"worker {worker.worker_id} is {worker.status}")
        for worker in now.system.workers
        if worker.status not in ("DOWN", old.get(worker.worker_id))
    ]
    if before.system.master.epoch != now.system.master.epoch:
        told.append((now.system.at, "the master was started again"))
    return replace(now, told=(*before.told, *told)[-_TOLD:])


@contextlib.contextmanager
def _keys() -> Iterator[_Pressed]:
    """Hear single keys; where standard input is no terminal, only time passes."""
    if not sys.stdin.isatty():
        yield _Pressed(heard=False)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _Pressed(heard=True)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class _Pressed:
    def __init__(self, *, heard: bool) -> None:
        self._from = [sys.stdin] if heard else []

    def __call__(self, wait_s: float) -> str | None:
        """Return the key that is pressed within a time."""
        ready, _, _ = select.select(self._from, [], [], wait_s)
        return sys.stdin.read(1) if ready else None
