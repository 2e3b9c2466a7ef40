"""An executor: a process that runs one task after another for its parent.

``python -m minispark.worker.executor``, started by `minispark.worker.executor_process`. It is a
process of its own so that a segfault, an out-of-memory, a time-out or a hung task ends one process
and not the worker. It is spawned, never forked: forked Polars threads deadlock.

::

    parent  --- Hello, TaskSpec, TaskSpec, ... --->  executor     (stdin)
            <-- Ready, report, report, ... ---------              (stdout)
            <-- lines that tasks print -------------              (stderr)

What a task prints to stdout goes to stderr, so that it cannot corrupt the messages. When its parent
has ended, the executor ends at once.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Any

import polars as pl

from minispark.blocks.port import BlockFiles
from minispark.task.run import attempt
from minispark.task.spec import TaskSpec
from minispark.task.usage import UsageMeter
from minispark.worker.pipes import LENGTH, ExecutorHello, ExecutorReady, pack, unpack


def main() -> None:
    """Serve the parent on stdin and stdout until the parent ends."""
    requests, replies = _private_pipes()
    threading.Thread(target=_end_with_parent, args=(requests.fileno(),), daemon=True).start()
    hello: ExecutorHello = _receive(requests)
    sys.path[:] = hello.path
    _warm()
    meter = UsageMeter()
    _send(replies, ExecutorReady())
    while True:
        spec: TaskSpec = _receive(requests)
        port = BlockFiles(Path(spec.block_directory), hello.fetch)
        _send(replies, attempt(spec, port=port, meter=meter))


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
