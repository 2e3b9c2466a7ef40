"""The log of a worker, asked through the master."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.master.masters import TOKEN, Bench, Client
from tests.worker.fake_master import serving

from minispark.blocks.store import BlockStore
from minispark.logs import LogBuffer
from minispark.tokens import BlockKey, Level, derive
from minispark.wire.guard import App
from minispark.worker.app import block_app

PATH = "/api/v1/workers/w-1/logs"
INNER = "/internal/v1/workers/w-1/logs"


def log_of_a_worker(tmp_path: Path) -> App:
    """Return the server of a worker that has logged three lines."""
    log = LogBuffer()
    for level in ("info", "warning", "error"):
        log(
            None,
            level,
            {"level": level, "event": f"an {level}", "timestamp": "2026-01-01T10:20:30Z"},
        )
    store = BlockStore(tmp_path / "blocks")
    return block_app(store, token=TOKEN, hosts=("127.0.0.1",), worker_id="w-1", log=log)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Accept": "text/html"}


async def page(client: Client, level: Level, path: str) -> str:
    headers = bearer(derive(TOKEN, level))
    return (await client.http.get(path, headers=headers)).text


def test_lines_come_from_the_worker_and_not_for_every_token(bench: Bench, tmp_path: Path) -> None:
    async def story() -> None:
        async with bench.master() as client, serving(log_of_a_worker(tmp_path)) as url:
            await bench.worker_of(client, "w-1").register(url=url)
            found = (await client.get(PATH, level="warning")).json()
            assert [line["event"] for line in found["lines"]] == ["an warning", "an error"]
            assert found["worker_id"] == "w-1"
            assert len((await client.get(PATH, after=2)).json()["lines"]) == 1
            assert (await client.get(PATH, level="loud")).status_code == 422
            statuses = {
                level: (
                    await client.http.get(PATH, headers=bearer(derive(TOKEN, level)))
                ).status_code
                for level in (Level.VIEW, Level.SUBMIT, Level.WORKER)
            }
            assert statuses == {Level.VIEW: 403, Level.SUBMIT: 200, Level.WORKER: 403}
            assert (await client.get("/api/v1/workers/w-2/logs")).status_code == 404
            shown = await page(client, Level.SUBMIT, "/workers?log=w-1&level=warning")
            assert "10:20:30 error an error" in shown
            assert "an info" not in shown
            assert "worker-log" in await page(client, Level.SUBMIT, "/workers")
            assert "worker-log" not in await page(client, Level.VIEW, "/workers?log=w-1")

    asyncio.run(story())


async def garbage(_request: Request) -> Response:
    return Response(b'{"worker_id": "w-1", "lines": [{"number": "x"}]}')


async def flood(_request: Request) -> Response:
    return Response(b" " * (9 << 20))


@pytest.mark.parametrize(
    ("answer", "reason"), [(garbage, "of this version"), (flood, "too large"), (None, "Connect")]
)
def test_a_worker_that_does_not_answer_well_is_an_error(
    bench: Bench, answer: object, reason: str
) -> None:
    async def story() -> None:
        routes = [] if answer is None else [Route(INNER, answer)]  # type: ignore[arg-type]
        async with bench.master() as client, serving(Starlette(routes=routes)) as url:
            url = url if answer is not None else "http://127.0.0.1:1"
            await bench.worker_of(client, "w-1").register(url=url)
            refused = await client.get(PATH)
            assert refused.status_code == 502
            assert reason in refused.json()["error"]["message"]
            assert refused.json()["error"]["code"] == "MS-173"
            shown = await page(client, Level.ROOT, "/workers?log=w-1")
            assert "cannot be read" in shown

    asyncio.run(story())


def test_a_worker_takes_the_ticket_of_its_own_log_only(tmp_path: Path) -> None:
    async def story() -> None:
        app, key = log_of_a_worker(tmp_path), BlockKey(TOKEN)
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for token, path, status in (
                (key.ticket("w-1"), INNER, 200),
                (key.ticket("w-2"), INNER, 401),
                (key.ticket("w-2"), INNER.replace("w-1", "w-2"), 404),
                (derive(TOKEN, Level.SUBMIT), INNER, 403),
                (TOKEN, f"{INNER}?level=loud", 400),
                (TOKEN, f"{INNER}?limit=1", 200),
            ):
                answer = await client.get(path, headers=bearer(token))
                assert answer.status_code == status, (path, answer.text)
            assert len(answer.json()["lines"]) == 1

    asyncio.run(story())
