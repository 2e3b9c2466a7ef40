"""Every route and verb of every port, with every kind of token; every foreign name and site."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.security.apps import (
    CREDENTIALS,
    KEY,
    ROOT,
    TOKENS,
    VERBS,
    call,
    master,
    routes,
    worker_apps,
)

from minispark.tokens import Level
from minispark.wire.guard import App, Message, Scope

JOB = f"/api/v1/jobs/{KEY.job}"
WORKERS = "/internal/v1/workers"
BLOCK = f"/internal/v1/blocks/{KEY.block_id}"
LOOKS, RUNS = {"view", "submit", "root"}, {"submit", "root"}
SERVES, ALL = {"worker", "root"}, set(CREDENTIALS)

# Written by hand: what the guard's own table says would prove nothing.
MASTER = {
    ("GET", "/healthz"): ALL,
    ("GET", "/openapi.json"): ALL,
    ("GET", "/docs"): ALL,
    ("GET", f"{JOB}/metrics"): ALL,
    ("GET", f"{JOB}/stages"): ALL,
    ("GET", "/api/v1/state"): ALL,
    ("GET", "/metrics"): ALL,
    ("GET", "/api/v1/metrics/system"): ALL,
    ("GET", "/api/v1/metrics/jobs"): ALL,
    ("GET", "/api/v1/metrics/failures"): ALL,
    ("GET", "/login"): ALL,
    ("GET", "/assets/0/ui.css"): ALL,
    ("GET", "/"): LOOKS,
    ("GET", "/workers"): LOOKS,
    ("GET", "/load"): LOOKS,
    ("GET", "/api/v1/metrics/load"): LOOKS,
    ("GET", "/events"): LOOKS,
    ("GET", "/compare"): LOOKS,
    ("GET", f"/jobs/{KEY.job}"): LOOKS,
    ("GET", f"/jobs/{KEY.job}/events"): LOOKS,
    ("GET", f"/jobs/{KEY.job}/tasks"): LOOKS,
    ("GET", "/submit"): RUNS,
    ("POST", "/logout"): LOOKS,
    ("POST", "/api/v1/login-links"): LOOKS,
    ("GET", "/api/v1/pulse"): LOOKS,
    ("GET", f"{JOB}/sheet"): LOOKS,
    ("GET", f"{JOB}/timeline"): LOOKS,
    ("GET", f"{JOB}/story"): LOOKS,
    ("GET", f"{JOB}/why"): LOOKS,
    ("GET", "/api/v1/jobs"): LOOKS,
    ("GET", JOB): LOOKS,
    ("GET", f"{JOB}/tasks"): LOOKS,
    ("GET", f"{JOB}/events"): LOOKS,
    ("GET", "/api/v1/workers"): LOOKS,
    ("GET", "/api/v1/events"): LOOKS,
    ("GET", "/api/v1/workers/w1/logs"): RUNS,
    ("POST", "/api/v1/jobs"): RUNS,
    ("DELETE", JOB): RUNS,
    ("GET", f"{JOB}/results"): RUNS,
    ("GET", f"{JOB}/source"): RUNS,
    ("POST", f"{JOB}/rerun"): RUNS,
    ("POST", "/internal/v1/jobs"): RUNS,
    ("GET", f"/internal/v1/jobs/{KEY.job}/blocks"): RUNS,
    ("GET", f"/internal/v1/jobs/{KEY.job}/plan"): RUNS,
    ("POST", WORKERS): SERVES,
    ("POST", f"{WORKERS}/w1/poll"): SERVES,
    ("POST", f"{WORKERS}/w1/reports"): SERVES,
    ("POST", f"{WORKERS}/w1/heartbeat"): SERVES,
    ("POST", f"{WORKERS}/w1/drain"): SERVES,
    ("POST", f"{WORKERS}/w1/fragments"): SERVES,
    ("DELETE", f"{WORKERS}/w1"): SERVES,
}
OPEN = {"/healthz", "/login", "/assets/0/ui.css"}
FIGURES = {path for (_, path), who in MASTER.items() if who is ALL}
BLOCKS = {
    ("GET", "/healthz"): ALL,
    ("GET", BLOCK): {"worker", "submit", "root", "ticket"},
    ("GET", f"{WORKERS}/w1/logs"): SERVES,
}
METRICS = {("GET", "/healthz"): ALL, ("GET", "/metrics"): ALL}
LEVELS = {level.value for level in Level}


def check(app: App, allowed: dict[tuple[str, str], set[str]]) -> int:
    """Call everything with every credential; return how many calls that were."""
    table = {**allowed, **{("HEAD", p): who for (v, p), who in allowed.items() if v == "GET"}}
    paths = [*routes(app), "/", "/nothing", "/api/v1/jobs/", "//healthz", "/healthz/", "/HEALTHZ"]
    assert {path for _, path in allowed} <= set(paths)
    todo = list(product(VERBS, paths, CREDENTIALS))
    headers = {
        who: {} if shown is None else {"authorization": shown} for who, shown in CREDENTIALS.items()
    }
    shown = [(verb, path, headers[who]) for verb, path, who in todo]
    for (verb, path, who), reply in zip(todo, call(app, shown), strict=True):
        may = who in table.get((verb, path), {"root"})
        status, where = reply.status_code, (verb, path, who)
        if may:
            assert status not in (401, 403, 500), (where, reply.text)
        else:
            assert status == (403 if who in LEVELS else 401), (where, status)
        assert reply.headers["x-content-type-options"] == "nosniff", where
        assert reply.headers["referrer-policy"] == "no-referrer", where
        policy = reply.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy, where
        assert "default-src 'self'" in policy or "default-src 'none'" in policy, where
        assert "unsafe" not in policy, where
        assert "access-control-allow-origin" not in reply.headers, where
        if not may and verb != "HEAD":
            assert reply.json()["error"]["code"] == ("MS-607" if status == 403 else "MS-601")
    return len(todo)


@pytest.mark.parametrize(
    ("changes", "open_paths"),
    [
        ({}, FIGURES),
        ({"auth": "all"}, OPEN),
        ({"host": "0.0.0.0", "insecure": True}, OPEN),  # noqa: S104
        ({"host": "0.0.0.0", "insecure": True, "auth": "figures-open"}, FIGURES),  # noqa: S104
    ],
    ids=["loopback", "all", "network", "open figures"],
)
def test_the_master(tmp_path: Path, changes: dict[str, Any], open_paths: set[str]) -> None:
    allowed = {
        (verb, path): (who if who is not ALL or path in open_paths else LOOKS)
        for (verb, path), who in MASTER.items()
    }
    with master(tmp_path, **changes) as app:
        known = {path for _, path in MASTER}
        # A route that nobody has put into the table above is closed; it still belongs there.
        assert set(routes(app)) - known == set()
        assert check(app, allowed) > 3_000


def test_the_block_port(tmp_path: Path) -> None:
    app, _ = worker_apps(tmp_path)
    assert set(routes(app)) == {path for _, path in BLOCKS}
    check(app, BLOCKS)


def test_a_worker_with_its_own_token_lets_tickets_in(tmp_path: Path) -> None:
    """It cannot know the submit token; what its holder shows is a ticket."""
    app, figures = worker_apps(tmp_path, token=TOKENS[Level.WORKER], open_figures=False)
    wanted = {"none": 401, "worker": 200, "ticket": 200, "other ticket": 401, "wrong": 401}
    wanted |= {"root": 401, "submit": 401, "view": 401}
    shown = [{} if (c := CREDENTIALS[who]) is None else {"authorization": c} for who in wanted]
    replies = call(app, [("GET", BLOCK, headers) for headers in shown])
    assert [reply.status_code for reply in replies] == list(wanted.values())
    replies = call(figures, [("GET", "/metrics", headers) for headers in shown])
    assert [reply.status_code == 200 for reply in replies] == [who == "worker" for who in wanted]


@pytest.mark.parametrize("open_figures", [True, False])
def test_the_metrics_port(tmp_path: Path, open_figures: bool) -> None:
    _, app = worker_apps(tmp_path, open_figures=open_figures)
    assert set(routes(app)) == {path for _, path in METRICS}
    allowed = METRICS
    if not open_figures:
        allowed = {**METRICS, ("GET", "/metrics"): {"view", "submit", "worker", "root"}}
    check(app, allowed)


FOREIGN = [
    {"host": "evil.example"},
    {"host": "evil.example:80"},
    {"host": "localhost.evil.example"},
    {"host": "localhost@evil.example"},
    {"host": "evil.example#localhost"},
    {"host": "localhost, evil.example"},
    {"host": "127.0.0.1.nip.io"},
    {"host": "2130706433"},
    {"host": "0x7f000001"},
    {"host": "127.1"},
    {"host": "0.0.0.0"},  # noqa: S104
    {"host": "[::ffff:127.0.0.1]"},
    {"host": ""},
    {"origin": "http://evil.example"},
    {"origin": "https://localhost:3000"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "http://localhost:3000"},
    {"origin": "http://localhost@evil.example"},
    {"origin": "null"},
    {"origin": "file://"},
    {"origin": "chrome-extension://abc"},
    {"origin": "http://[::1"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "unheard-of"},
    {"origin": "http://localhost", "sec-fetch-site": "cross-site"},
    {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
]


@pytest.mark.parametrize("port", ["master", "blocks", "figures"])
def test_foreign_names_and_sites(tmp_path: Path, port: str) -> None:
    """Also with the right token, also to look, also on open routes."""
    with master(tmp_path) as served:
        app: App = served
        if port != "master":
            app = worker_apps(tmp_path)[port == "figures"]
        calls = [
            (verb, path, {**foreign, **shown})
            for foreign in FOREIGN
            for verb in VERBS
            for path in [*routes(app), "/nothing"]
            for shown in ({}, {"authorization": f"Bearer {ROOT}"})
        ]
        for (verb, path, headers), reply in zip(calls, call(app, calls), strict=True):
            assert reply.status_code == 403, (verb, path, headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "LOCALHOST:9"},
        {"host": "127.0.0.1"},
        {"host": "[::1]:8080"},
        {"host": "spark.lan"},
        {"host": "localhost.", "origin": "http://localhost."},
        {"origin": "http://localhost", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_own_names_and_sites(tmp_path: Path, headers: dict[str, str]) -> None:
    with master(tmp_path, allowed_hosts=("Spark.lan",)) as app:
        shown = headers | {"authorization": f"Bearer {ROOT}"}
        (reply,) = call(app, [("GET", "/api/v1/jobs", shown)])
        assert reply.status_code == 200, reply.text


def test_two_of_a_header_are_not_one(tmp_path: Path) -> None:
    """A proxy may look at the first and we at the second."""
    import asyncio

    async def ask(app: App, headers: list[tuple[bytes, bytes]]) -> int:
        sent: list[Message] = []
        scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/v1/jobs",
            "raw_path": b"/api/v1/jobs",
            "query_string": b"",
            "headers": headers,
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 9),
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return int(sent[0]["status"])

    with master(tmp_path) as app:
        host, good = (b"host", b"localhost"), (b"authorization", f"Bearer {ROOT}".encode())
        assert asyncio.run(ask(app, [host, good])) == 200
        assert asyncio.run(ask(app, [host, (b"host", b"evil"), good])) == 403
        assert asyncio.run(ask(app, [(b"host", b"evil"), host, good])) == 403
        assert asyncio.run(ask(app, [host, good, (b"authorization", b"Bearer x")])) == 401
        assert asyncio.run(ask(app, [host, good, (b"origin", b"http://evil")])) == 403
