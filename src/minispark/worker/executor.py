"""An executor: a process that runs one task after another for its parent.

``python -m minispark.worker.executor``, started by `minispark.worker.executor_process`. It is a
process of its own so that a segfault, an out-of-memory, a time-out or a hung task ends one process
and not the worker. It is spawned, never forked: forked Polars threads deadlock.

::

    parent  --- Hello, TaskSpec, TaskSpec, ... --->  executor     (stdin)
            <-- Ready, progress, report, ... -------              (stdout)
            <-- lines that tasks print -------------              (stderr)

What a task prints to stdout goes to stderr, so that it cannot corrupt the messages. When its parent
has ended, the executor ends at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import polars as pl

from minispark.blocks.port import BlockFiles
from minispark.clock import monotonic_s
from minispark.task.progress import progress_of
from minispark.task.run import attempt
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.task.usage import UsageMeter
from minispark.worker.pipes import LENGTH, ExecutorHello, ExecutorReady, pack, unpack

_PROGRESS_S = 0.5
"""Time between two messages about a running task."""


def main() -> None:
    """Serve the parent on stdin and stdout until the parent ends."""
    requests, replies = _private_pipes()
    threading.Thread(target=_end_with_parent, args=(requests.fileno(),), daemon=True).start()
    hello: ExecutorHello = _receive(requests)
    sys.path[:] = hello.path
    _warm()
    meter = UsageMeter()
    reporter = _ProgressReporter(replies, meter)
    _send(replies, ExecutorReady())
    threading.Thread(target=reporter.run, daemon=True).start()
    while True:
        spec: TaskSpec = _receive(requests)
        port = BlockFiles(Path(spec.block_directory), hello.fetch)
        reporter.begin(spec)
        outcome = attempt(spec, port=port, meter=meter)
        reporter.end(outcome)


class _ProgressReporter:
    """Sends what the running task has read, a few times a second, and its outcome in the end.

    A task that is shorter than that costs nothing.
    """

    def __init__(self, replies: IO[bytes], meter: UsageMeter) -> None:
        self._replies = replies
        self._meter = meter
        self._lock = threading.Lock()
        self._running: tuple[TaskSpec, float] | None = None

    def begin(self, spec: TaskSpec) -> None:
        self._running = spec, monotonic_s()

    def end(self, outcome: TaskReport | TaskFailure) -> None:
        with self._lock:  # After the outcome there must be no progress of its task.
            self._running = None
            _send(self._replies, outcome)

    def run(self) -> None:
        """Send progress for as long as the process lives."""
        while True:
            time.sleep(_PROGRESS_S)
            with self._lock:
                running = self._running
                if running is None or monotonic_s() - running[1] < _PROGRESS_S:
                    continue
                spec, began_s = running
                ran_s, read = monotonic_s() - began_s, self._meter.bytes_read()
                with contextlib.suppress(Exception):  # A task does not depend on it.
                    _send(self._replies, progress_of(spec, ran_s=ran_s, polars_bytes=read))


def _private_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Move the pipes to other descriptors; stdin is empty and stdout is stderr from here on."""
    # An interrupt from the terminal reaches all processes of its group; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _end_with_parent(descriptor: int) -> None:
    poller = select.poll()
    poller.register(descriptor, 0)  # Only a hang-up, which is always reported.
    poller.poll()
    os._exit(0)


def _receive(requests: IO[bytes]) -> Any:
    header = requests.read(LENGTH.size)
    if len(header) < LENGTH.size:  # The parent has ended.
        os._exit(0)
    (length,) = LENGTH.unpack(header)
    return unpack(requests.read(length))


def _send(replies: IO[bytes], message: object) -> None:
    try:
        replies.write(pack(message))
        replies.flush()
    except BrokenPipeError:
        os._exit(0)


def _warm() -> None:
    """Run a small query, so that the first task does not wait for Polars to load."""
    frame = pl.scan_csv(b"text\na b\nb\n").select(pl.col("text").str.split(" ")).explode("text")
    counts = frame.group_by("text").len()
    plan = pl.LazyFrame.deserialize(io.BytesIO(counts.serialize()))
    plan.collect(engine="streaming").write_ipc_stream(None)


if __name__ == "__main__":
    main()
