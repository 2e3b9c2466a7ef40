"""The door of every server: who may come in, decided before anything is read or parsed.

A pure ASGI middleware, default deny, in this order:

1. ``Host`` must be a name of this server: a web page that rebinds its own name to our address
   still sends its own name.
2. ``Origin`` and ``Sec-Fetch-Site`` must not be another site's, whatever the method.
3. The token must be right, unless the route is open.
4. The body must not be larger than the limit.

Covers: every HTTP request. Does not cover: what a route does with a request that may come in.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException

from minispark.errors import ErrorInfo
from minispark.wire.http import error_body

__all__ = ["LOOPBACK_NAMES", "Guard", "GuardPolicy", "host_name", "is_loopback"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether an address to bind is reachable from this machine only."""
    return host in LOOPBACK_NAMES or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def host_name(netloc: str) -> str:
    """Return the name in a ``Host`` header, without port, brackets and a trailing dot."""
    name = netloc.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.removesuffix(".")


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """Who may come in. ``open_routes`` are (methods, path pattern) that need no token."""

    token: str
    names: frozenset[str]
    """Names and addresses that clients may call this server by, besides the address that the
    connection came in at."""
    body_bytes: int
    open_routes: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = ()


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    info: ErrorInfo
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Guard:
    """Lets a request through to ``app``, or answers it itself."""

    def __init__(self, app: App, policy: GuardPolicy) -> None:
        self._app = app
        self._policy = policy
        self._token = policy.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; only HTTP is spoken here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, refusal)
            return
        await self._app(scope, _limited(receive, self._policy.body_bytes), send)

    def _refusal(self, scope: Scope, headers: Mapping[str, list[str]]) -> _Refusal | None:
        return (
            self._foreign_host(scope, headers)
            or _foreign_site(headers)
            or self._no_token(scope, headers)
            or self._too_large(headers)
        )

    def _foreign_host(self, scope: Scope, headers: Mapping[str, list[str]]) -> _Refusal | None:
        hosts = headers.get("host", [])
        if len(hosts) == 1 and self._is_ours(scope, host_name(hosts[0])):
            return None
        shown = hosts[0][:100] if hosts else "(none)"
        return _Refusal(
            403,
            ErrorInfo(
                "MS-602",
                f"this server does not answer to the host name {shown!r}",
                hint=f"If it is yours, start the server with --allowed-host {shown}",
            ),
        )

    def _no_token(self, scope: Scope, headers: Mapping[str, list[str]]) -> _Refusal | None:
        method, path = scope["method"], scope["path"]
        if any(method in methods and p.fullmatch(path) for methods, p in self._policy.open_routes):
            return None
        given = headers.get("authorization", [])
        if len(given) == 1:
            scheme, _, token = given[0].partition(" ")
            if scheme.lower() == "bearer" and hmac.compare_digest(
                token.strip().encode(), self._token
            ):
                return None
        return _Refusal(
            401,
            ErrorInfo(
                "MS-601",
                "the token is wrong" if given else "this needs the token of the cluster",
                hint="Set MINISPARK_TOKEN to the text of the token file that the master named "
                "when it started; on the same machine it is found by itself.",
            ),
            headers=((b"www-authenticate", b"Bearer"),),
        )

    def _too_large(self, headers: Mapping[str, list[str]]) -> _Refusal | None:
        announced = headers.get("content-length", ["0"])[0]
        limit = self._policy.body_bytes
        if announced.isdecimal() and len(announced) < 20 and int(announced) <= limit:
            return None
        return _Refusal(413, _large(limit), headers=((b"connection", b"close"),))

    def _is_ours(self, scope: Scope, name: str) -> bool:
        server = scope.get("server")
        return name in self._policy.names or (server is not None and name == server[0])


def _foreign_site(headers: Mapping[str, list[str]]) -> _Refusal | None:
    here = headers["host"][0].lower()
    origins = (_origin_host(origin) for origin in headers.get("origin", []))
    sites = headers.get("sec-fetch-site", [])
    if all(origin == here for origin in origins) and all(
        site in ("same-origin", "none") for site in sites
    ):
        return None
    return _Refusal(
        403,
        ErrorInfo(
            "MS-603",
            "this request comes from a page of another site",
            hint="Web pages of other sites may not call this server.",
        ),
    )


def _origin_host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower() or "null"
    except ValueError:
        return "null"


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _limited(receive: Receive, limit: int) -> Receive:
    """Count what comes in: a chunked body does not announce its size."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise HTTPException(413, error_body(_large(limit)))
        return message

    return counted


def _large(limit: int) -> ErrorInfo:
    return ErrorInfo("MS-604", f"the request is larger than {limit} bytes", hint="Send less.")


async def _answer(send: Send, refusal: _Refusal) -> None:
    body = json.dumps(error_body(refusal.info)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
