"""An executor process as its parent sees it: its start, its tasks, its output, its end.

The other end of the pipes is `minispark.worker.executor`. Which task a process gets and when it is
killed is decided in `minispark.worker.executors`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from minispark.blocks.fetch import FetchSettings
from minispark.config import PRIVATE
from minispark.errors import Failure
from minispark.ids import TaskKey
from minispark.logs import logger
from minispark.masks import masked
from minispark.task.spec import TaskFailure, TaskProgress, TaskReport, TaskSpec
from minispark.worker.pipes import LENGTH, ExecutorHello, ExecutorReady, pack, unpack
from minispark.worker.spill import Spilling

_START_TIMEOUT_S = 60.0
"""Importing Polars takes 0.2 s; on a cold, busy disk perhaps ten."""
_EXIT_S = 1.0
"""Time from the end of the pipe to the exit code, for an executor that ends by itself."""
_LINE_CHARS = 2_000
_LINES_KEPT = 5
"""Last lines of an executor that died, for the failure."""

_log = logger("worker")

OutputListener = Callable[[int, TaskKey | None, str], None]
"""Gets each line that a process printed, with its id and the attempt that it runs or ran last."""


class ExecutorEnded(Exception):  # noqa: N818 - an event, not a mistake
    """The process is gone."""


class ExecutorProcess:
    """One executor as its parent sees it, from start to end."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        on_output: OutputListener,
        spilling: Spilling | None = None,
    ) -> None:
        self._process = process
        self._spilling = spilling
        self._last_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._output = asyncio.create_task(self._listen(on_output))
        self._killed = False
        self._task: TaskKey | None = None
        self.verdict: Failure | None = None
        """Why its parent killed it."""
        self.baseline_bytes = 0
        self.progress: TaskProgress | None = None
        """What its task has read so far; None in the first moments of a task."""

    @classmethod
    async def start(
        cls,
        *,
        threads: int,
        fetch: FetchSettings,
        on_output: OutputListener,
        spilling: Spilling | None = None,
    ) -> ExecutorProcess:
        """Spawn a process and wait until it is warm."""
        # Tasks must not read the token of the worker.
        public = {name: value for name, value in os.environ.items() if name not in PRIVATE}
        own = {
            "POLARS_MAX_THREADS": str(threads),
            "PYTHONUNBUFFERED": "1",
            "RUST_BACKTRACE": "0",
        }
        # What the user sets is kept.
        environment = {**({} if spilling is None else spilling.environment()), **public, **own}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "minispark.worker.executor",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        executor = cls(process, on_output, spilling)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await executor._write(ExecutorHello(fetch, tuple(sys.path)))
                ready = await executor._read()
            if not isinstance(ready, ExecutorReady):
                msg = "it did not report that it is ready"
                raise ExecutorEnded(msg)
        except ExecutorEnded as error:
            raise ExecutorEnded(await executor.exit_reason()) from error
        except BaseException:
            await executor.end()
            raise
        executor.baseline_bytes = executor.memory_bytes()
        return executor

    @property
    def alive(self) -> bool:
        """Whether it has neither ended nor been killed."""
        return not self._killed and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def run(self, spec: TaskSpec) -> TaskReport | TaskFailure:
        """Run a task; raise `ExecutorEnded` if the process ends before it reports."""
        # Not reset afterwards: the last lines of a task may come after its report.
        self._task = spec.key
        self.progress = None
        await self._write(spec)
        while isinstance(report := await self._read(), TaskProgress):
            self.progress = report
        if not isinstance(report, TaskReport | TaskFailure):
            msg = "an executor answered something else than a report"
            raise ExecutorEnded(msg)
        return report

    def kill(self, verdict: Failure | None) -> None:
        """Kill the process; the first verdict stays."""
        self._killed = True
        self.verdict = self.verdict or verdict
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> None:
        """Kill the process and wait for its end."""
        self.kill(None)
        await self._process.wait()
        self._output.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._output
        if self._spilling is not None:
            try:
                await asyncio.to_thread(self._spilling.remove, self.pid)
            except RuntimeError:  # this interpreter ends, and starts no thread any more
                self._spilling.remove(self.pid)

    async def exit_reason(self) -> str:
        """Wait for the end of a process that closed its pipe; return how it ended."""
        # A kill at once would hide how it ended by itself.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _EXIT_S)
        self.kill(None)
        code = await self._process.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._output), _EXIT_S)
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
            reason = f"executor ended by signal {-code} ({name})"
        else:
            reason = f"executor ended with exit code {code}"
        lines = " | ".join(self._last_lines)
        return f"{reason}; last output: {lines}" if lines else reason

    def memory_bytes(self) -> int:
        """Return the anonymous memory of the process: RSS would count mapped blocks."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        for line in status.splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        return 0

    async def _write(self, message: object) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - it is a pipe
        try:
            stdin.write(pack(message))
            await stdin.drain()
        except OSError as error:
            raise ExecutorEnded from error

    async def _read(self) -> object:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it is a pipe
        try:
            (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
            body = await stdout.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ExecutorEnded from error
        try:
            return unpack(body)
        except Exception as error:  # A task may write to the pipe.
            msg = "an executor answered with something that cannot be read"
            raise ExecutorEnded(msg) from error

    async def _listen(self, on_output: OutputListener) -> None:
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101 - it is a pipe
        rest = b""
        while chunk := await stderr.read(4096):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_CHARS:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._handle_line(line, on_output)
        if rest:
            self._handle_line(rest, on_output)

    def _handle_line(self, line: bytes, on_output: OutputListener) -> None:
        # If this task ended, the pipe would fill up and the executor hang.
        try:
            text = masked(line[:_LINE_CHARS].decode(errors="replace").rstrip())
            if text:
                self._last_lines.append(text)
                on_output(self.pid, self._task, text)
        except Exception:
            _log.exception("a listener to the output of executors failed")
