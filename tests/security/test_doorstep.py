"""Those who knock and say nothing, or very slowly, or from very many connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from minispark.master import MasterConfig, running
from minispark.settings import DoorSettings, Limits

TOKEN = "the-shared-secret-of-these-tests"  # noqa: S105
DEADLINE_S = 60
LOOK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Line]]


@asynccontextmanager
async def master(folder: Path, door: DoorSettings) -> AsyncIterator[Dial]:
    config = MasterConfig(state_dir=folder / "state", token=TOKEN, port=0, door=door)
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
        async with master(tmp_path, DoorSettings(head_s=0.2)) as dial:
            line = await dial()
            line[1].write(said)
            assert await is_hung_up(line)
            assert await is_answered(await dial())

    asyncio.run(story())


def test_a_head_that_comes_byte_by_byte(tmp_path: Path) -> None:
    """Each byte is no new patience."""

    async def story() -> None:
        async with master(tmp_path, DoorSettings(head_s=0.5)) as dial:
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
        async with master(tmp_path, DoorSettings(head_s=0.2)) as dial:
            line, other = await dial(), await dial()
            assert await is_answered(line)
            # So much later another one was hung up.
            assert await is_hung_up(other)
            assert await is_answered(line)

    asyncio.run(story())


def test_a_body_that_stands_still(tmp_path: Path) -> None:
    async def story() -> None:
        async with master(tmp_path, DoorSettings(body_s=0.2)) as dial:
            reader, writer = await dial()
            head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}"
            writer.write(head.encode() + b"\r\nContent-Length: 100\r\n\r\n{")
            answer = await asyncio.wait_for(reader.readuntil(b"}"), DEADLINE_S)
            assert b" 408 " in answer.splitlines()[0]
            assert b"MS-610" in answer

    asyncio.run(story())


def test_connections_per_peer_are_bounded(tmp_path: Path) -> None:
    async def story() -> None:
        async with master(tmp_path, DoorSettings(connections=3)) as dial:
            first = [await dial() for _ in range(3)]
            assert [await is_answered(line) for line in first] == [True] * 3
            assert not await is_answered(await dial())
            first[0][1].close()
            await first[0][1].wait_closed()
            async with asyncio.timeout(DEADLINE_S):
                while not await is_answered(await dial()):
                    await asyncio.sleep(0.01)
            assert await is_answered(first[1])

    asyncio.run(story())


def test_every_limit_has_a_number() -> None:
    """None means for ever, and somebody would try."""
    for limits in (Limits(), DoorSettings()):
        for name in limits.__slots__:
            value = getattr(limits, name)
            assert isinstance(value, int | float), name
            assert 0 < value < float("inf"), name
