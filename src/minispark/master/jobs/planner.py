"""Plans JSON jobs in a child process, kept warm.

Covers: starting, asking, limiting and replacing the child. Does not cover: which job is next
(`planner_pool`), planning itself (`minispark.jobs`). The master does not look into a job or its
fragments: it sends bytes, and gets the shapes of stages and bytes.

A message in either direction is four bytes of length (big-endian) and the JSON that
`minispark.jobs.planner_child` describes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import tempfile
from dataclasses import asdict, dataclass
from typing import IO, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minispark.config import PRIVATE
from minispark.errors import ErrorInfo
from minispark.jobs.reading import Reading, ended, timed_out
from minispark.logs import logger
from minispark.masks import masked
from minispark.master.settings import MasterConfig
from minispark.plan.stages import StageGraph
from minispark.settings import MAX_WEIGHT, MIN_WEIGHT
from minispark.task.failures import PANIC_CODE
from minispark.wire.http import RefusedError
from minispark.wire.messages import GraphMessage

_MAX_REPLY_BYTES = 1 << 29
"""A plan of 65,536 splits is about 20 MB; a longer answer is a fault of the child."""
_LENGTH_BYTES = 4
_STDERR_BYTES = 2_000
_JOBS_AHEAD = 10
"""The next child starts when this one may plan this number of jobs: its imports take 0.5 s."""

_log = logger("master")


@dataclass(frozen=True, slots=True)
class PlannedBody:
    """The plan of a JSON job."""

    name: str
    weight: float
    graph: StageGraph


@dataclass(frozen=True, slots=True)
class _Started:
    process: asyncio.subprocess.Process
    stderr: IO[bytes]


class _Reply(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64")
    name: Annotated[str, Field(max_length=200)] = "job"
    weight: Annotated[float, Field(ge=MIN_WEIGHT, le=MAX_WEIGHT)] = 1.0
    graph: GraphMessage | None = None
    error: ErrorInfo | None = None
    status: int = 422
    reading: Reading | None = None
    """The input that is read next; a message with this field comes before the answer."""


class Planner:
    """One child, which plans one job at a time; a child that has ended is replaced at once."""

    def __init__(self, config: MasterConfig) -> None:
        self._command = config.planner_command
        self._limits = config.limits
        settings = {
            "data_root": None if config.data_root is None else str(config.data_root),
            "settings": asdict(config.plan),
            "limits": asdict(config.limits),
        }
        self._head = json.dumps(settings).encode() + b"\n"
        self._turn = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
        self._planned = 0
        self._stderr: IO[bytes] | None = None
        """What the child prints, for the error if it dies."""
        self._next: _Started | None = None
        """The child that replaces this one; it imports its modules meanwhile."""
        self._reading: Reading | None = None

    async def start(self) -> None:
        """Start the child, so that it is warm when the first job comes."""
        async with self._turn:
            await self._spawn()

    async def close(self) -> None:
        """End the child."""
        async with self._turn:
            await self._end()
            if self._next is not None:
                await self._spawn()
                await self._end()
            if self._stderr is not None:
                self._stderr.close()

    async def plan(self, body: bytes) -> PlannedBody:
        """Return the plan of a JSON job; ``body`` is its text.

        Raises
        ------
        RefusedError
            The job is wrong, or the planner died or timed out over it.
        """
        request = self._head + body
        async with self._turn:
            try:
                async with asyncio.timeout(self._limits.plan_timeout_s):
                    reply = await self._ask(request)
            except TimeoutError:
                await self._end()
                raise RefusedError(
                    422, timed_out(self._limits.plan_timeout_s, self._reading)
                ) from None
            except (OSError, asyncio.IncompleteReadError, ValidationError) as error:
                how, output = await self._end(), self._last_output()
                _log.warning("planner_ended", reason=how or str(error), last_words=output)
                limit = self._limits.plan_memory_bytes
                info = ended(how, output, self._reading, limit_bytes=limit)
                raise RefusedError(422, info) from None
            except BaseException:
                # The answer to this request would be taken for the answer to the next one.
                await self._end()
                raise
            finally:
                await self._replace()
        if reply.error is not None:
            raise RefusedError(reply.status, reply.error)
        if reply.graph is None:
            raise RefusedError(422, ErrorInfo("MS-130", "the planner sent an empty answer"))
        return PlannedBody(reply.name, reply.weight, reply.graph.graph)

    async def _ask(self, request: bytes) -> _Reply:
        if self._child is None or self._child.returncode is not None:
            await self._spawn()
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise BrokenPipeError
        self._reading = None
        child.stdin.write(len(request).to_bytes(_LENGTH_BYTES, "big") + request)
        await child.stdin.drain()
        while True:
            reply = await self._read(child.stdout)
            if "reading" not in reply.model_fields_set:
                break
            self._reading = reply.reading
        self._planned += 1
        if reply.error is not None and reply.error.code == PANIC_CODE:
            # Polars may still hold locks in that process.
            self._planned = self._limits.jobs_per_planner
        return reply

    async def _read(self, answers: asyncio.StreamReader) -> _Reply:
        size = int.from_bytes(await answers.readexactly(_LENGTH_BYTES), "big")
        if size > _MAX_REPLY_BYTES:
            msg = f"its answer would be {size} bytes long"
            raise OSError(msg)
        return _Reply.model_validate_json(await answers.readexactly(size))

    async def _replace(self) -> None:
        """Start a new child if this one is gone or has planned its number of jobs."""
        left = self._limits.jobs_per_planner - self._planned
        if left <= 0:
            await self._end()
        with contextlib.suppress(OSError):
            if self._child is None:
                await self._spawn()
            elif left <= _JOBS_AHEAD and self._next is None:
                self._next = await self._start_child()

    async def _spawn(self) -> None:
        started, self._next = self._next or await self._start_child(), None
        if self._stderr is not None:
            self._stderr.close()
        self._child, self._stderr, self._planned = started.process, started.stderr, 0

    async def _start_child(self) -> _Started:
        environment = {name: text for name, text in os.environ.items() if name not in PRIVATE}
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when another child follows
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=1 << 20,
            )
        except BaseException:
            stderr.close()
            raise
        limit = self._limits.plan_memory_bytes
        if hasattr(resource, "prlimit"):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        return _Started(process, stderr)

    async def _end(self) -> str:
        """End the child; return how it ended by itself, empty if it did not."""
        child, self._child = self._child, None
        if child is None:
            return ""
        # After a short answer the child is ending: its own signal says more than our kill.
        if child.stdout is not None and child.stdout.at_eof():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), 1.0)
        code = child.returncode
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        if code is None:
            return ""
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _last_output(self) -> str:
        """Return the last bytes that the child printed, as text."""
        if self._stderr is None:
            return ""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_BYTES))
        return masked(self._stderr.read().decode(errors="replace").strip())
