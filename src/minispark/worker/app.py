"""What a worker serves: its blocks, and on another port its figures.

::

    port          GET /internal/v1/blocks/{block_id}   ticket of its job, or token; Range honoured
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
from minispark.observe.cluster import WorkerFigures
from minispark.observe.prometheus import CONTENT_TYPE, worker_text
from minispark.settings import ConnectionLimits
from minispark.wire.guard import BLOCKS, VIEW, WORKER, App, GuardPolicy, RequestGuard, RouteRule

_BODY_BYTES = 0
"""Nothing here takes a body."""
_READ = frozenset({"GET", "HEAD"})


class _BlockResponse(FileResponse):
    """Sends a block and says how many bytes of it went out."""

    chunk_size = 1 << 20
    """Each chunk is a hop to a thread; the default 64 KiB halves the throughput."""

    def __init__(self, path: Path, on_served: Callable[[int], None]) -> None:
        super().__init__(path, media_type="application/vnd.apache.arrow.stream")
        self._on_served = on_served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        sent, good = 0, False

        async def count(message: Message) -> None:
            nonlocal sent, good
            await send(message)
            good = good or message.get("status") in (200, 206)
            sent += len(message.get("body", b""))

        try:
            await super().__call__(scope, receive, count)
        finally:
            if good and sent:
                self._on_served(sent)


def block_app(
    store: BlockStore,
    *,
    token: str,
    hosts: Collection[str],
    connection_limits: ConnectionLimits | None = None,
    on_served: Callable[[int], None] = lambda size: None,
) -> App:
    """Serve the blocks of one worker to those who hold the token.

    ``on_served`` is told of each answer with (a part of) a block and of its bytes.
    """

    async def block(request: Request) -> Response:
        try:
            path: Path = store.path_of(request.path_params["block_id"])
        except ValueError as error:
            return _error(400, "MS-154", str(error))
        # Existence is checked here: Starlette finds out only after it has begun to answer.
        if not path.is_file():
            return _error(404, "MS-155", "there is no such block here")
        return _BlockResponse(path, on_served)

    routes = [
        Route("/internal/v1/blocks/{block_id}", block),
        Route("/healthz", _healthz),
    ]
    rule = RouteRule(_READ, re.compile(r"/internal/v1/blocks/(?P<job>[^/.]+)\.[^/]*"), BLOCKS)
    policy = _policy(
        token, hosts, open_paths=("/healthz",), rule=rule, connection_limits=connection_limits
    )
    return RequestGuard(Starlette(routes=routes), policy)


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
    """Serve the figures of one worker, as JSON or, when asked for text, for Prometheus."""

    async def metrics(request: Request) -> Response:
        now = figures()
        if "text/plain" in request.headers.get("accept", ""):
            active = int(now.get("active_tasks", 0))
            told = WorkerFigures.from_heartbeat(
                now, worker_id=worker_id, slots=slots, active_tasks=active
            )
            return Response(worker_text(told), media_type=CONTENT_TYPE)
        return JSONResponse({"worker_id": worker_id, **now})

    routes = [Route("/metrics", metrics), Route("/healthz", _healthz)]
    open_paths = ("/healthz", "/metrics") if open_figures else ("/healthz",)
    rule = RouteRule(_READ, re.compile("/metrics"), VIEW | WORKER)
    policy = _policy(
        token, hosts, open_paths=open_paths, rule=rule, connection_limits=connection_limits
    )
    return RequestGuard(Starlette(routes=routes), policy)


def _policy(
    token: str,
    hosts: Collection[str],
    *,
    open_paths: Sequence[str],
    rule: RouteRule,
    connection_limits: ConnectionLimits | None,
) -> GuardPolicy:
    return GuardPolicy(
        token=token,
        names=frozenset(hosts),
        body_bytes=_BODY_BYTES,
        open_routes=tuple((_READ, re.compile(re.escape(path))) for path in open_paths),
        rules=(rule,),
        connection_limits=connection_limits or ConnectionLimits(),
    )


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
