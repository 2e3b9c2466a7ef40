"""Those who knock and say nothing, or very slowly, or from very many connections."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from minispark.master import MasterConfig, running
from minispark.settings import ConnectionLimits, Limits
from minispark.tokens import Level, derive
from minispark.wire.connection_limits import log_accept_errors

TOKEN = "the-shared-secret-of-these-tests"  # noqa: S105
DEADLINE_S = 60
LOOK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Line]]


@asynccontextmanager
async def master(folder: Path, connection_limits: ConnectionLimits) -> AsyncIterator[Dial]:
    config = MasterConfig(
        state_dir=folder / "state", token=TOKEN, port=0, connection_limits=connection_limits
    )
    lines: list[Line] = []
    async with running(config) as (url, _):

        async def dial() -> Line:
            lines.append(await asyncio.open_connection("127.0.0.1", urlsplit(url).port))
            return lines[-1]

        try:
            yield dial
        finally:
            for _, writer in lines:
                writer.close()
            await asyncio.gather(*(w.wait_closed() for _, w in lines), return_exceptions=True)


async def is_answered(line: Line) -> bool:
    reader, writer = line
    try:
        writer.write(LOOK)
        await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return head.startswith(b"HTTP/1.1 200")


async def is_hung_up(line: Line) -> bool:
    try:
        return await asyncio.wait_for(line[0].read(), DEADLINE_S) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET /hea", LOOK[:-2]])
def test_a_head_that_does_not_come(tmp_path: Path, said: bytes) -> None:
    async def story() -> None:
        async with master(tmp_path, ConnectionLimits(head_s=0.2)) as dial:
            line = await dial()
            line[1].write(said)
            assert await is_hung_up(line)
            assert await is_answered(await dial())

    asyncio.run(story())


def test_a_head_that_comes_byte_by_byte(tmp_path: Path) -> None:
    """Each byte is no new patience."""

    async def story() -> None:
        async with master(tmp_path, ConnectionLimits(head_s=0.5)) as dial:
            reader, writer = await dial()
            hung_up = asyncio.create_task(is_hung_up((reader, writer)))

            async def drip() -> None:
                writer.write(b"GET / HTTP/1.1\r\nX: ")
                while not hung_up.done():
                    writer.write(b"x")
                    await asyncio.wait((hung_up,), timeout=0.05)

            await asyncio.wait_for(drip(), DEADLINE_S)
            assert await hung_up

    asyncio.run(story())


def test_an_idle_connection_is_no_late_head(tmp_path: Path) -> None:
    """Between two requests a client may wait for as long as it likes."""

    async def story() -> None:
        async with master(tmp_path, ConnectionLimits(head_s=0.2)) as dial:
            line, other = await dial(), await dial()
            assert await is_answered(line)
            # So much later another one was hung up.
            assert await is_hung_up(other)
            assert await is_answered(line)

    asyncio.run(story())


def test_a_body_that_stands_still(tmp_path: Path) -> None:
    async def story() -> None:
        async with master(tmp_path, ConnectionLimits(body_s=0.2)) as dial:
            reader, writer = await dial()
            head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}"
            writer.write(head.encode() + b"\r\nContent-Length: 100\r\n\r\n{")
            answer = await asyncio.wait_for(reader.readuntil(b"}"), DEADLINE_S)
            assert b" 408 " in answer.splitlines()[0]
            assert b"MS-610" in answer

    asyncio.run(story())


def test_connections_per_peer_are_bounded(tmp_path: Path) -> None:
    """A new one takes the place of the oldest that is idle and has shown no token."""

    async def story() -> None:
        async with master(tmp_path, ConnectionLimits(connections=3)) as dial:
            silent, *answered = [await dial() for _ in range(3)]
            assert [await is_answered(line) for line in answered] == [True] * 2
            assert await is_answered(await dial())
            assert await is_hung_up(silent)
            assert [await is_answered(line) for line in answered] == [True] * 2

    asyncio.run(story())


async def status(line: Line, token: str | None, path: str = "/api/v1/jobs", more: str = "") -> int:
    """Send a request, and return the status of its answer."""
    shown = "" if token is None else f"Authorization: Bearer {token}\r\n"
    reader, writer = line
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{shown}{more}\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        if b"content-length" in head:
            await reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    return int(head.split()[1])


def test_silent_connections_keep_no_one_out(tmp_path: Path) -> None:
    """Those of workers and of the owner stay, and new ones are taken."""

    async def story() -> None:
        async with master(tmp_path, ConnectionLimits(connections=8)) as dial:
            owner, worker = await dial(), await dial()
            workers = derive(TOKEN, Level.WORKER)
            assert await status(owner, TOKEN) == 200
            assert await status(worker, workers) == 403
            assert await status(worker, workers, "/healthz") == 200
            for _ in range(40):
                await dial()
            assert await is_answered(await dial())
            assert await status(await dial(), TOKEN) == 200
            assert await status(owner, TOKEN) == 200
            assert await status(worker, workers, "/healthz") == 200

    asyncio.run(story())


@pytest.mark.parametrize("connection_limits", [
    ConnectionLimits(connections=16, open_streams=5),
    ConnectionLimits(connections=16, open_streams=100, lesser_requests=100),
], ids=["streams", "connections"])  # fmt: skip
def test_streams_of_a_token_that_looks_keep_no_one_out(
    tmp_path: Path, connection_limits: ConnectionLimits
) -> None:
    view, stream = derive(TOKEN, Level.VIEW), "Accept: text/event-stream\r\n"

    async def story() -> None:
        async with master(tmp_path, connection_limits) as dial:
            found = [await status(await dial(), view, "/api/v1/pulse", stream) for _ in range(40)]
            assert set(found) == {200, 429}
            assert found.count(200) == min(connection_limits.open_streams, 12)
            assert await is_answered(await dial())
            assert [await status(await dial(), TOKEN) for _ in range(2)] == [200] * 2
            assert await status(await dial(), TOKEN, "/api/v1/pulse", stream) == 200
            if connection_limits.open_streams < 12:
                # Its requests are counted apart from its streams.
                assert await status(await dial(), view) == 200

    asyncio.run(story())


FILES = 64


def test_a_master_with_few_files_goes_on_once_connections_end(tmp_path: Path) -> None:
    """Its log holds a line for all the tries to take connections, and not one for each."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "minispark", "master", "--port", "0"]
    command += ["--state-dir", str(tmp_path / "state")]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, "MINISPARK_TOKEN": TOKEN},
            stdout=subprocess.DEVNULL,
            stderr=out,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )
    try:
        port = _port_in(log, process)
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(4 * FILES)]
        assert _asks(port) == 200
        for sock in crowd:
            sock.close()
        assert _asks(port) == 200
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
    assert log.stat().st_size < 20_000
    assert b"Traceback" not in log.read_bytes()


def _port_in(log: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", log.read_bytes())
        if found is not None:
            return int(found[1])
        time.sleep(0.05)
    pytest.fail(log.read_text())


def _asks(port: int) -> int:
    """Ask as the owner until there is an answer."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            reply = httpx2.get(f"http://127.0.0.1:{port}/api/v1/jobs", headers=headers, timeout=5)
        except httpx2.HTTPError:
            assert time.monotonic() < end
        else:
            return reply.status_code


def test_accept_errors_are_logged_once_a_period() -> None:
    said: list[dict[str, Any]] = []
    now = 100.0

    class Log:
        def warning(self, event: str, **fields: Any) -> None:
            said.append({"event": event, **fields})

    async def story() -> None:
        nonlocal now
        loop = asyncio.get_running_loop()
        log_accept_errors(loop, Log(), lambda: now)
        found = {"message": "socket.accept() out of system resource", "exception": OSError(24, "x")}
        for _ in range(1_000):
            loop.call_exception_handler(found)
        assert [line["tries"] for line in said] == [1]
        now += 61
        loop.call_exception_handler(found)
        assert [line["tries"] for line in said] == [1, 1_000]

    asyncio.run(story())


def test_every_limit_has_a_number() -> None:
    """None means for ever, and somebody would try."""
    for limits in (Limits(), ConnectionLimits()):
        for name in limits.__slots__:
            value = getattr(limits, name)
            assert isinstance(value, int | float), name
            assert 0 < value < float("inf"), name
