"""The HTTP servers of a worker: blocks, and metrics on another port.

::

    port          GET /internal/v1/blocks/{block_id}   ticket of its job, or token; Range honoured
                  GET /internal/v1/workers/{id}/logs    ticket of this worker, or token
                  GET /healthz
    port + 1000   GET /metrics                         open on loopback, else token
                  GET /healthz
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from minispark.blocks.store import BlockStore
from minispark.logs import LEVELS, LogBuffer
from minispark.observe.cluster import WorkerFigures
from minispark.observe.prometheus import CONTENT_TYPE, worker_text
from minispark.settings import ConnectionLimits
from minispark.wire.guard import BLOCKS, VIEW, WORKER, App, GuardPolicy, RequestGuard, RouteRule

_LOG_LINES = 100
_READ = frozenset({"GET", "HEAD"})


class _BlockResponse(FileResponse):
    """Sends a block and reports how many of its bytes were sent."""

    chunk_size = 1 << 20
    """Each chunk is read in a thread; the default of 64 KiB halves the throughput."""

    def __init__(self, path: Path, on_served: Callable[[int], None]) -> None:
        super().__init__(path, media_type="application/vnd.apache.arrow.stream")
        self._on_served = on_served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        sent, served = 0, False

        async def count(message: Message) -> None:
            nonlocal sent, served
            await send(message)
            served = served or message.get("status") in (200, 206)
            sent += len(message.get("body", b""))

        try:
            await super().__call__(scope, receive, count)
        finally:
            if served and sent:
                self._on_served(sent)


def block_app(
    store: BlockStore,
    *,
    token: str,
    hosts: Collection[str],
    connection_limits: ConnectionLimits | None = None,
    on_served: Callable[[int], None] = lambda size: None,
    worker_id: str = "",
    log: LogBuffer | None = None,
) -> App:
    """Return the server of a worker's blocks, and of its ``log`` for the master.

    ``on_served`` gets the number of bytes of each answer with (a part of) a block.
    """

    async def block(request: Request) -> Response:
        try:
            path: Path = store.path_of(request.path_params["block_id"])
        except ValueError as error:
            return _error(400, "MS-154", str(error))
        # Starlette would notice a missing file only after the answer has begun.
        if not path.is_file():
            return _error(404, "MS-155", "no such block on this worker")
        return _BlockResponse(path, on_served)

    async def logs(request: Request) -> Response:
        if log is None or request.path_params["worker_id"] != worker_id:
            return _error(404, "MS-155", "this is another worker")
        query = request.query_params
        level, limit = query.get("level", "info"), _number(query.get("limit"), _LOG_LINES)
        if level not in LEVELS:
            return _error(400, "MS-113", f"level must be one of {', '.join(LEVELS)}")
        lines = log.latest(level=level, limit=limit, after=_number(query.get("after"), 0))
        return JSONResponse({"worker_id": worker_id, "lines": lines})

    routes = (
        Route("/internal/v1/blocks/{block_id}", block),
        Route("/internal/v1/workers/{worker_id}/logs", logs),
    )
    rules = (
        RouteRule(_READ, re.compile(r"/internal/v1/blocks/(?P<job>[^/.]+)\.[^/]*"), BLOCKS),
        # The ticket of a worker: a worker that learns it can read no other worker's log with it.
        RouteRule(_READ, re.compile(r"/internal/v1/workers/(?P<job>[^/]+)/logs"), WORKER),
    )
    return _guarded(routes, rules, token=token, hosts=hosts, limits=connection_limits)


def metrics_app(
    figures: Callable[[], dict[str, float]],
    *,
    worker_id: str,
    slots: int,
    token: str,
    hosts: Collection[str],
    open_figures: bool,
    connection_limits: ConnectionLimits | None = None,
) -> App:
    """Return the server of a worker's metrics, as JSON or as text for Prometheus."""

    async def metrics(request: Request) -> Response:
        values = figures()
        if "text/plain" in request.headers.get("accept", ""):
            active = int(values.get("active_tasks", 0))
            typed = WorkerFigures.from_heartbeat(
                values, worker_id=worker_id, slots=slots, active_tasks=active
            )
            return Response(worker_text(typed), media_type=CONTENT_TYPE)
        return JSONResponse({"worker_id": worker_id, **values})

    route = Route("/metrics", metrics)
    rule = RouteRule(_READ, re.compile("/metrics"), VIEW | WORKER)
    open_paths = ("/metrics",) if open_figures else ()
    limits = connection_limits
    return _guarded(
        (route,), (rule,), token=token, hosts=hosts, open_paths=open_paths, limits=limits
    )


def _guarded(
    routes: Sequence[Route],
    rules: tuple[RouteRule, ...],
    *,
    token: str,
    hosts: Collection[str],
    open_paths: Sequence[str] = (),
    limits: ConnectionLimits | None,
) -> App:
    """Return a server of routes behind the guard, and of ``/healthz``, which is open."""
    policy = GuardPolicy(
        token=token,
        names=frozenset(hosts),
        body_bytes=0,  # No route takes a body.
        open_routes=tuple((_READ, re.compile(re.escape(p))) for p in ("/healthz", *open_paths)),
        rules=rules,
        connection_limits=limits or ConnectionLimits(),
    )
    return RequestGuard(Starlette(routes=[*routes, Route("/healthz", _healthz)]), policy)


async def _healthz(_request: Request) -> Response:
    # Programs that take this server for a master see what it is.
    return JSONResponse({"status": "ok", "server": "worker"})


def _number(text: str | None, default: int) -> int:
    """Return a number of a query that is not too large, ``default`` for anything else."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else default


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
