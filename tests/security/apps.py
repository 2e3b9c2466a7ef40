"""The three applications that listen, without ports, and the tokens that are shown to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from minispark.blocks.store import BlockStore
from minispark.ids import TaskKey
from minispark.journal.journal import Journal
from minispark.master import MasterConfig, Service, create_app
from minispark.master.control.components import Identity
from minispark.settings import ConnectionLimits
from minispark.tokens import BlockKey, Level, derive
from minispark.wire.guard import App, Message, RequestGuard, Scope
from minispark.worker.app import block_app, metrics_app

ROOT = "the-shared-secret-of-these-tests"
KEY = TaskKey("job-c-1-1", 0, 0, 0, 0)
TOKENS = {level: derive(ROOT, level) for level in Level}
CREDENTIALS = {
    "none": None,
    "empty": "Bearer ",
    "wrong": "Bearer wrong",
    "longer": f"Bearer {ROOT}x",
    "shorter": f"Bearer {ROOT[:-1]}",
    "prefixed": f"Bearer minispark-view-{ROOT}",
    "basic": f"Basic {ROOT}",
    "bare": ROOT,
    "bytes": "Bearer \xff\xfe",
    **{level.value: f"Bearer {token}" for level, token in TOKENS.items()},
    "ticket": f"Bearer {BlockKey(ROOT).ticket(KEY.job)}",
    "other ticket": f"Bearer {BlockKey(ROOT).ticket('job-c-1-2')}",
}
VERBS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    *("OPTIONS", "TRACE", "CONNECT", "PROPFIND", "BREW"),
)
PATIENT = ConnectionLimits(first_pause_s=0.0)


@contextmanager
def master(folder: Path, **changes: Any) -> Iterator[FastAPI]:
    """A master's application."""
    config = MasterConfig(
        **{"state_dir": folder, "token": ROOT, "connection_limits": PATIENT, **changes}
    )
    journal = Journal(folder / "journal.db")
    try:
        yield create_app(Service(config, journal, Identity("c", 1)))
    finally:
        journal.close()


def worker_apps(folder: Path, *, token: str = ROOT, open_figures: bool = True) -> tuple[App, App]:
    """The applications of a worker's two ports; there is one block."""
    store = BlockStore(folder / "blocks")
    store.path_of(KEY.block_id).write_bytes(b"rows")
    blocks = block_app(store, token=token, hosts=("localhost",), connection_limits=PATIENT)
    figures = metrics_app(
        lambda: {"active_tasks": 1.0},
        worker_id="w",
        slots=1,
        token=token,
        hosts=("localhost",),
        open_figures=open_figures,
        connection_limits=PATIENT,
    )
    return blocks, figures


def routes(app: App) -> list[str]:
    """Every path that an application routes, filled in."""
    routed = app._app if isinstance(app, RequestGuard) else app
    assert isinstance(routed, Starlette)
    found = dict.fromkeys(_paths(routed.routes))
    return [
        path.replace("{job_id}", KEY.job)
        .replace("{worker_id}", "w1")
        .replace("{block_id}", KEY.block_id)
        .replace("{version}/{name:path}", "0/ui.css")
        for path in found
    ]


def _paths(found: Iterable[object]) -> Iterator[str]:
    for route in found:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is not None:
            yield from _paths(inner)
        else:
            assert isinstance(route, Route | Mount | APIRoute), route
            yield route.path


@dataclass
class Reply:
    """What an application said."""

    status_code: int = 500
    """Also of one that raises before it has answered."""
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


def call(app: App, calls: Iterable[tuple[str, str, dict[str, str]]]) -> list[Reply]:
    """Make requests, one after another, as a server hands them to an application."""

    async def work() -> list[Reply]:
        return [await _ask(app, verb, path, shown) for verb, path, shown in calls]

    return asyncio.run(work())


async def _ask(app: App, verb: str, path: str, shown: dict[str, str]) -> Reply:
    """Calls are made by the ten thousand: a client between would take most of the time."""
    reply, asked = Reply(), False
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": verb,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (name.encode(), value.encode("latin-1"))
            for name, value in {"host": "localhost", **shown}.items()
        ],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 123),
    }

    async def receive() -> Message:
        nonlocal asked
        if asked:
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status_code = message["status"]
            reply.headers = {n.decode(): v.decode("latin-1") for n, v in message["headers"]}
        else:
            reply.content += message.get("body", b"")

    # A server tells of what is raised in its log; what was answered counts.
    with suppress(Exception):
        await app(scope, receive, send)
    return reply
