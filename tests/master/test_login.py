"""How a browser gets in, and what it may do then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import wraps
from typing import Any

import httpx2
import pytest
from tests.master.masters import TOKEN, Bench, Client

from minispark.clock import wall_s
from minispark.engines.http import MasterClient
from minispark.master.server import running
from minispark.tokens import Level, derive
from minispark.wire import cookies as cookies_module
from minispark.wire.cookies import COOKIE_LIFE_S

PAGE = {"accept": "text/html"}


def scenario(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a story on a loop of its own."""

    @wraps(story)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(story(*args, **named))

    return run


def browser(client: Client) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=client.url, headers=PAGE, trust_env=False)


async def link(client: Client, level: Level = Level.ROOT, place: str = "/") -> str:
    headers = {"authorization": f"Bearer {derive(TOKEN, level)}"}
    body = {"next": place}
    reply = await client.http.post("/api/v1/login-links", json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["path"])


@scenario
async def test_a_link_works_once(bench: Bench) -> None:
    async with bench.master() as client, browser(client) as page:
        path = await link(client, place="/jobs/x?y=1#stage-2")
        reply = await page.get(path)
        assert (reply.status_code, reply.headers["location"]) == (303, "/jobs/x?y=1#stage-2")
        cookie = reply.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Secure" not in cookie
        assert TOKEN not in cookie
        assert (await page.get("/")).status_code == 200

        async with browser(client) as other:
            reply = await other.get(path)
            assert reply.status_code == 401
            assert "MS-620" not in reply.headers.get("set-cookie", "")
            assert "was already used" in reply.text
            assert (await other.get("/")).status_code == 401


@scenario
async def test_links_have_the_address_for_browsers(bench: Bench) -> None:
    ready: list[str] = []
    config = replace(bench.config, public_url="http://127.0.0.1:8123")
    async with running(config, lambda *shown: ready.extend(shown)) as (url, _):
        assert url != config.public_url
        with MasterClient(url, token=TOKEN) as client:
            printed = await asyncio.to_thread(client.login_link, "/jobs/x")
    assert ready[0] == config.public_url
    for link in (ready[1], printed):
        assert link.startswith("http://127.0.0.1:8123/login?code=")


@scenario
async def test_who_is_not_logged_in_reads_how(bench: Bench) -> None:
    async with bench.master() as client, browser(client) as page:
        reply = await page.get("/")
        assert reply.status_code == 401
        assert "minispark ui" in reply.text
        assert reply.headers["content-type"].startswith("text/html")
        # A program gets JSON.
        reply = await page.get("/", headers={"accept": "application/json"})
        assert reply.json()["error"]["code"] == "MS-601"


@pytest.mark.parametrize("place", ["//evil.example", "https://evil.example", "/\\evil", "", "/a b"])
@scenario
async def test_a_link_leads_nowhere_else(bench: Bench, place: str) -> None:
    async with bench.master() as client:
        reply = await client.http.post("/api/v1/login-links", json={"next": place})
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "MS-621")


@scenario
async def test_a_cookie_may_do_what_the_token_may(bench: Bench) -> None:
    async with bench.master() as client:
        for level, submit, root in ((Level.VIEW, 403, 401), (Level.SUBMIT, 202, 401)):
            async with browser(client) as page:
                await page.get(await link(client, level))
                here = {"origin": client.url}
                assert (await page.get("/api/v1/jobs")).status_code == 200
                job: dict[str, Any] = {"name": "t", "dag": {}}
                reply = await page.post("/api/v1/jobs", json=job, headers=here)
                assert reply.status_code == submit, reply.text
                # Between master and workers a cookie counts for nothing.
                reply = await page.post("/internal/v1/workers", json={}, headers=here)
                assert reply.status_code == root, reply.text
        async with browser(client) as page:
            await page.get(await link(client, Level.ROOT))
            reply = await page.post("/internal/v1/workers", headers={"origin": client.url})
            assert reply.status_code == 401


@scenario
async def test_a_change_says_where_it_comes_from(bench: Bench) -> None:
    async with bench.master() as client, browser(client) as page:
        await page.get(await link(client))
        job = {"name": "t", "dag": {}}
        for headers in ({}, {"origin": "http://evil.example"}, {"sec-fetch-site": "same-site"}):
            reply = await page.post("/api/v1/jobs", json=job, headers=headers)
            assert reply.status_code == 403, headers
        for headers in ({"origin": client.url}, {"sec-fetch-site": "same-origin"}):
            reply = await page.post("/api/v1/jobs", json=job, headers=headers)
            assert reply.status_code == 202, reply.text


@scenario
async def test_a_cookie_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = wall_s()
    async with bench.master() as client, browser(client) as page:
        await page.get(await link(client))
        monkeypatch.setattr(cookies_module, "wall_s", lambda: now + COOKIE_LIFE_S - 60)
        assert (await page.get("/workers")).status_code == 200
        monkeypatch.setattr(cookies_module, "wall_s", lambda: now + COOKIE_LIFE_S + 60)
        assert (await page.get("/workers")).status_code == 401


@scenario
async def test_a_cookie_cannot_be_made_up(bench: Bench) -> None:
    async with bench.master() as client, browser(client) as page:
        reply = await page.get(await link(client, Level.VIEW))
        name, _, value = reply.headers["set-cookie"].split(";")[0].partition("=")
        level, until, nonce, mac = value.split(".")
        page.cookies.clear()
        for changed in (
            f"root.{until}.{nonce}.{mac}",
            f"{level}.{int(until) + 1}.{nonce}.{mac}",
            f"worker.{until}.{nonce}.{mac}",
            f"{level}.{until}.{nonce}.",
            "...",
            "",
            "x" * 5_000,
            TOKEN,
        ):
            reply = await page.get("/", headers={"cookie": f"{name}={changed}"})
            assert reply.status_code == 401, changed
        reply = await page.get("/", headers={"cookie": f"a=b; {name}={value}"})
        assert reply.status_code == 200


@scenario
async def test_a_login_outlives_the_master_and_ends_with_a_logout(bench: Bench) -> None:
    jar = httpx2.Cookies()
    async with bench.master() as client, browser(client) as page:
        await page.get(await link(client, Level.VIEW))
        jar.update(page.cookies)
    async with bench.master() as client, browser(client) as page:
        page.cookies.update(jar)
        assert (await page.get("/")).status_code == 200
        reply = await page.post("/logout", headers={"origin": client.url})
        assert (reply.status_code, reply.headers["location"]) == (303, "/login")
        assert (await page.get("/login")).status_code == 200
        assert (await page.get("/")).status_code == 401
