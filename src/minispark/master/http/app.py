"""The ASGI application of the master: routes behind the guard, all errors as one JSON object."""

from __future__ import annotations

import socket
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from minispark.errors import ErrorInfo, MinisparkError
from minispark.logs import logger
from minispark.master.control.service import Service
from minispark.master.http import route_policy
from minispark.master.http.api import public_routes
from minispark.master.http.docs_page import add_docs_page
from minispark.master.http.internal_api import internal_routes
from minispark.master.http.pages_api import is_page, web_routes
from minispark.ui import Pages
from minispark.wire.cookies import CookieKey
from minispark.wire.guard import GuardPolicy, RequestGuard
from minispark.wire.hosts import LOOPBACK_NAMES, host_name, is_loopback
from minispark.wire.http import RefusedError, error_body
from minispark.wire.messages import PROTOCOL

_log = logger("master")


def create_app(service: Service) -> FastAPI:
    """Build the application; the guard sees every request first."""
    app = FastAPI(
        title="Mini-Spark master",
        version=f"v1 (protocol {PROTOCOL})",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.include_router(public_routes(service))
    app.include_router(internal_routes(service))
    pages = Pages(service.components.identity.cluster_id)
    config, cookies = service.config, _cookie_key(service)
    app.include_router(web_routes(service, pages, cookies))
    add_docs_page(app)
    _add_errors(app, pages)
    names = {*LOOPBACK_NAMES, host_name(config.host), *map(host_name, config.allowed_hosts)}
    if not is_loopback(config.host):
        names.add(host_name(socket.gethostname()))
    policy = GuardPolicy(
        token=config.token,
        names=frozenset(names),
        body_bytes=min(route_policy.OTHER_BYTES, config.limits.body_bytes),
        open_routes=route_policy.ALWAYS_OPEN
        + (route_policy.FIGURES if config.figures_open else ()),
        rules=route_policy.rules(config.limits),
        connection_limits=config.connection_limits,
        cookies=cookies,
        refused_page=pages.refused,
    )
    app.add_middleware(RequestGuard, policy=policy)
    return app


def _cookie_key(service: Service) -> CookieKey:
    return CookieKey.of(
        service.config.token,
        service.components.identity.cluster_id,
        secure=service.config.tls_cert is not None,
        paths=route_policy.BROWSER_PATHS,
    )


def _add_errors(app: FastAPI, pages: Pages) -> None:
    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        if is_page(request):
            return HTMLResponse(pages.refused(error.status, error.info), error.status)
        return _answer(error.status, error.info)

    @app.exception_handler(MinisparkError)
    async def ours(_request: Request, error: MinisparkError) -> JSONResponse:
        return _answer(422, error.info)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        detail: Any = error.detail
        if isinstance(detail, dict):
            return JSONResponse(detail, error.status_code, headers=error.headers)
        info = ErrorInfo(f"MS-{error.status_code}", str(detail))
        return _answer(error.status_code, info, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = str(first["loc"][-1])
        return _answer(422, ErrorInfo("MS-113", f"{field}: {first['msg']}", field=field))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        _log.error("request_failed", path=request.url.path, exc_info=error)
        info = ErrorInfo("MS-500", "the master failed while handling this request; see its log")
        return _answer(500, info)


def _answer(status: int, info: ErrorInfo, *, headers: Any = None) -> JSONResponse:
    return JSONResponse(error_body(info), status, headers=headers)
