"""Who may come in: every route of the running application, with and without the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route
from tests.master.masters import Bench

from minispark.errors import UsageError
from minispark.journal.journal import Journal
from minispark.master import MasterConfig, Service, create_app
from minispark.master.control.components import Identity
from minispark.master.settings import check_config
from minispark.settings import ConnectionLimits, Limits
from minispark.tokens import Level, derive
from minispark.wire.http import auth_headers

TOKEN = "right"  # noqa: S105
EVERYWHERE = "0.0.0.0"  # noqa: S104
FIGURES = {
    "/openapi.json",
    "/docs",
    "/api/v1/jobs/{job_id}/metrics",
    "/api/v1/jobs/{job_id}/stages",
    "/api/v1/state",
}


class App:
    """The application without a port."""

    def __init__(self, tmp_path: Path, **changes: Any) -> None:
        patient = ConnectionLimits(first_pause_s=0.0)
        config = MasterConfig(state_dir=tmp_path, token=TOKEN, connection_limits=patient, **changes)
        self.journal = Journal(tmp_path / "journal.db")
        self.app = create_app(Service(config, self.journal, Identity("c", 1)))

    def routes(self) -> list[tuple[str, str]]:
        found = []
        for route in _flat(self.app.routes):
            for method in sorted(route.methods or ()):
                found.append((method, route.path))
        return found

    def call(self, calls: list[tuple[str, str, dict[str, str]]]) -> list[httpx2.Response]:
        async def work() -> list[httpx2.Response]:
            transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False)
            base = "http://127.0.0.1:8080"
            async with httpx2.AsyncClient(transport=transport, base_url=base) as client:
                return [await client.request(m, p, headers=h) for m, p, h in calls]

        return asyncio.run(work())


def _flat(routes: Iterable[object]) -> list[Route]:
    found: list[Route] = []
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is not None:
            found += _flat(inner)
        elif isinstance(route, Route | APIRoute):
            found.append(route)
    return found


MakeApp = Callable[..., App]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[MakeApp]:
    made: list[App] = []

    def make(**changes: Any) -> App:
        made.append(App(tmp_path, **changes))
        return made[-1]

    yield make
    for one in made:
        one.journal.close()


def filled(path: str) -> str:
    return path.replace("{job_id}", "job-x").replace("{worker_id}", "w1")


def test_the_list_of_routes_is_whole(app: MakeApp) -> None:
    paths = {path for _, path in app().routes()}
    assert "/internal/v1/workers/{worker_id}/poll" in paths
    assert "/api/v1/jobs/{job_id}/results" in paths
    assert paths >= FIGURES | {"/healthz", "/internal/v1/jobs"}
    assert len(paths) >= 15


def test_with_the_token_every_route_is_reached(app: MakeApp) -> None:
    master = app()
    routes = master.routes()
    replies = master.call([(m, filled(p), auth_headers(TOKEN)) for m, p in routes])
    for (_, path), reply in zip(routes, replies, strict=True):
        leads_on = (303,) if path == "/logout" else ()
        assert reply.status_code in (200, 404, 422, *leads_on), path


def test_paths_that_do_not_exist_need_the_token_too(app: MakeApp) -> None:
    calls: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/", {}),
        ("GET", "/api/v1/jobs/x/metrics/", {}),
        ("GET", "/api/v1/jobs/x%2Fy/metrics", {}),
        ("DELETE", "/api/v1/jobs/x/metrics", {}),
        ("GET", "/healthz/../api/v1/jobs", {}),
        ("TRACE", "/healthz", {}),
    ]
    assert {reply.status_code for reply in app().call(calls)} == {401}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8080"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_foreign_names_and_sites_are_refused_on_every_route(
    app: MakeApp, headers: dict[str, str]
) -> None:
    master = app()
    calls = [(m, filled(p), headers | auth_headers(TOKEN)) for m, p in master.routes()]
    assert {reply.status_code for reply in master.call(calls)} == {403}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "LOCALHOST:9999"},
        {"Host": "[::1]:8080"},
        {"Host": "spark.lan:80"},
        {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_own_names_and_sites_are_let_in(app: MakeApp, headers: dict[str, str]) -> None:
    master = app(allowed_hosts=("Spark.lan",))
    (reply,) = master.call([("GET", "/api/v1/jobs", headers | auth_headers(TOKEN))])
    assert reply.status_code == 200, reply.text


def test_the_error_names_the_host_and_the_way_out(app: MakeApp) -> None:
    (reply,) = app().call([("GET", "/healthz", {"Host": "my.proxy"})])
    error = reply.json()["error"]
    assert "my.proxy" in error["message"]
    assert "--allowed-host my.proxy" in error["hint"]


def test_too_large_a_body_is_refused_announced_or_not(bench: Bench) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 1000

    async def story() -> None:
        async with bench.master(limits=Limits(body_bytes=5_000, job_bytes=5_000)) as client:
            for path in ("/api/v1/jobs", "/internal/v1/jobs"):
                announced = await client.http.post(path, content=b"x" * 8_000)
                chunked = await client.http.post(path, content=chunks())
                for reply in (announced, chunked):
                    assert reply.status_code == 413, reply.text
                    assert reply.json()["error"]["code"] == "MS-604"
            small = await client.http.post("/api/v1/jobs", content=b"x" * 5_000)
            assert small.status_code == 422

    asyncio.run(story())


def test_running_jobs_are_bounded_and_some_are_kept_for_the_owner(bench: Bench) -> None:
    async def story() -> None:
        limits = Limits(running_jobs=2, reserved_jobs=1)
        async with bench.master(limits=limits) as client:
            lesser = auth_headers(derive(client.config.token, Level.SUBMIT))
            found = []
            for headers in (lesser, lesser, {}, {}, lesser):
                job = {"name": "test", "dag": {}}
                reply = await client.http.post("/api/v1/jobs", json=job, headers=headers)
                found.append(reply.status_code)
                if reply.status_code == 429:
                    assert reply.json()["error"]["code"] == "MS-142"
            assert found == [202, 429, 202, 429, 429]
            (job, *_) = (await client.get("/api/v1/jobs")).json()["jobs"]
            await client.http.delete(f"/api/v1/jobs/{job['job_id']}")
            await client.ended(job["job_id"])
            reply = await client.http.post("/api/v1/jobs", json={"name": "test", "dag": {}})
            assert reply.status_code == 202

    asyncio.run(story())


def test_a_token_is_asked_for_before_the_body_is_read(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            host, port = client.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
            assert b" 401 " in head
            writer.close()
            await writer.wait_closed()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"token": ""}, "token"),
        ({"host": EVERYWHERE}, "unencrypted"),
        ({"host": "spark.lan"}, "unencrypted"),
        ({"tls_cert": Path("c.pem")}, "--tls-key"),
    ],
)
def test_an_unsafe_start_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    config = MasterConfig(**{"state_dir": tmp_path, "token": TOKEN, **changes})
    with pytest.raises(UsageError, match=says):
        check_config(config)


def test_a_config_does_not_show_its_token(tmp_path: Path) -> None:
    assert "s3cret" not in repr(MasterConfig(state_dir=tmp_path, token="s3cret"))  # noqa: S106


def test_the_docs_page_needs_no_network(app: MakeApp) -> None:
    (page,) = app().call([("GET", "/docs", {})])
    assert "<script" not in page.text
    assert "//" not in page.text.replace("default-src", "")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    (document,) = app().call([("GET", "/openapi.json", {})])
    for path in document.json()["paths"]:
        assert path in page.text
        assert not path.startswith("/internal")


def test_routes_are_api_routes(app: MakeApp) -> None:
    """The matrix above walks what FastAPI itself routes by."""
    assert all(isinstance(r, APIRoute) or r.path in FIGURES for r in _flat(app().app.routes))
