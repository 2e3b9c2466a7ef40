"""The guard of every server: accepts or refuses a request before its body is read.

A pure ASGI middleware that refuses by default. It checks in this order:

1. ``Host`` must be a name of this server: a web page that rebinds its own name to our address
   still sends its own name.
2. ``Origin`` and ``Sec-Fetch-Site`` must not be those of another site, for any method.
3. The token must be right and of a level that the route accepts, unless the route is open. A
   route without a rule accepts the shared secret only. Instead of a token a browser may send
   the cookie of its login, on the paths for browsers; a request that changes something must then
   say that it comes from a page of this server.
4. The body must not exceed the limit, nor the peer its number of open requests.

Every answer, also a refusal, has headers that limit what a browser does with it.

Covers: every HTTP request. Does not cover: connections without a request
(`minispark.wire.connection_limits`), what a route does with an accepted request.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from minispark.errors import ErrorInfo
from minispark.settings import ConnectionLimits
from minispark.tokens import Keyring, Level
from minispark.wire.cookies import CookieKey
from minispark.wire.hosts import host_name
from minispark.wire.http import error_body
from minispark.wire.throttle import OpenRequest, Throttle, peer_of

VIEW = frozenset({Level.VIEW, Level.SUBMIT, Level.ROOT})
SUBMIT = frozenset({Level.SUBMIT, Level.ROOT})
WORKER = frozenset({Level.WORKER, Level.ROOT})
BLOCKS = frozenset({Level.WORKER, Level.SUBMIT, Level.ROOT})

SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_LEVEL = "minispark.level"
_TOKEN = "minispark.token"  # noqa: S105 - the level of the token, not a token
_HELD = "minispark.held_s"
ADMIT = "minispark.admit"
"""A function that a connection adds to the scope of its requests: takes the level of the request,
and returns whether the connection may stay."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def level_of_request(scope: Scope) -> Level | None:
    """Return the level of the token of a request; None without a token, on an open route."""
    level: Level | None = scope.get(_LEVEL)
    return level


def caller_of(scope: Scope) -> Caller:
    """Return the caller of a request: clients with the same token level and address are one."""
    return Caller(level_of_request(scope), peer_of(scope.get("client")))


@dataclass(frozen=True, slots=True)
class Caller:
    """The client that a request is counted for; ``level`` is None without a token."""

    level: Level | None
    peer: str


@dataclass(frozen=True, slots=True)
class RouteRule:
    """The levels of tokens that a route accepts. ``path`` must match the whole path.

    If ``path`` has a group ``job``, a ticket for the blocks of that job is accepted too.
    """

    methods: frozenset[str]
    path: re.Pattern[str]
    levels: frozenset[Level]
    body_bytes: int | None = None
    """The limit of a body; None is the limit of the policy."""


_NO_RULE = RouteRule(frozenset(), re.compile(""), frozenset({Level.ROOT}))


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """What a guard accepts. ``open_routes`` are (methods, path pattern) that need no token."""

    token: str = field(repr=False)
    names: frozenset[str]
    """Names and addresses of this server, besides the address that the connection uses."""
    body_bytes: int
    open_routes: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = ()
    rules: tuple[RouteRule, ...] = ()
    connection_limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    cookies: CookieKey | None = None
    """Checks the cookies of browsers that have logged in; None if there is no login."""
    refused_page: Callable[[int, ErrorInfo], str] | None = None
    """Returns a refusal as HTML, for browsers."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    info: ErrorInfo
    headers: tuple[tuple[bytes, bytes], ...] = ()


class RequestGuard:
    """Passes a request on to ``app``, or answers with a refusal."""

    def __init__(self, app: App, policy: GuardPolicy) -> None:
        self._app = app
        self._policy = policy
        self._keys = Keyring(policy.token)
        self._throttle = Throttle(policy.connection_limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other protocols than HTTP are refused."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers, peer = _headers(scope), peer_of(scope.get("client"))
        rule, job = self._route(scope["method"], scope["path"])
        limit = self._policy.body_bytes if rule.body_bytes is None else rule.body_bytes
        refusal = (
            self._foreign_host(scope, headers)
            or _foreign_site(headers)
            or self._not_allowed(scope, headers, peer, rule.levels, job)
            or _too_large(headers, limit)
        )
        if scope.get(_HELD):
            await self._hold(peer, scope[_HELD])
        request = OpenRequest(peer, scope.get(_TOKEN), _is_stream(scope, headers))
        refusal = refusal or self._no_place(scope, request)
        if refusal is not None:
            page = self._policy.refused_page if _wants_page(scope, headers) else None
            await _answer(send, refusal, page)
            return
        try:
            body = _limited(receive, limit, pause_s=self._policy.connection_limits.body_s)
            await self._app(scope, body, _secured(send))
        finally:
            self._throttle.leave(request)

    def _no_place(self, scope: Scope, request: OpenRequest) -> _Refusal | None:
        """Count a request of a known level; refuse it if there is no place for it."""
        admit: Callable[[Level | None], bool] | None = scope.get(ADMIT)
        if admit is not None and not admit(request.level):
            return _Refusal(429, _TOO_MUCH_OPEN, headers=(*_LATER, (b"connection", b"close")))
        if not self._throttle.enter(request):
            return _Refusal(429, _TOO_MUCH_OPEN, headers=_LATER)
        return None

    async def _hold(self, peer: str, held_s: float) -> None:
        self._throttle.hold(peer, 1)
        try:
            await asyncio.sleep(held_s)
        finally:
            self._throttle.hold(peer, -1)

    def _foreign_host(self, scope: Scope, headers: Mapping[str, list[str]]) -> _Refusal | None:
        hosts = headers.get("host", [])
        if len(hosts) == 1:
            name, server = host_name(hosts[0]), scope.get("server")
            if name in self._policy.names or (server is not None and name == server[0]):
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

    def _not_allowed(
        self,
        scope: Scope,
        headers: Mapping[str, list[str]],
        peer: str,
        levels: frozenset[Level],
        job: str | None,
    ) -> _Refusal | None:
        """Check the token of a request, or the cookie of a browser that logged in."""
        method, path = scope["method"], scope["path"]
        is_open = any(m.fullmatch(path) for verbs, m in self._policy.open_routes if method in verbs)
        token = _bearer(headers)
        if token is None:
            cookies = self._policy.cookies
            level = None if cookies is None else cookies.level(headers.get("cookie", ()), path)
            if level is None:
                return None if is_open else _NO_TOKEN
            site = headers.get("origin") or headers.get("sec-fetch-site")
            if method not in _SAFE_METHODS and not site:
                return _Refusal(403, _NO_SITE)
            scope[_LEVEL] = scope[_TOKEN] = level
            return None if is_open or level in levels else _Refusal(403, _too_weak(level, levels))
        if self._throttle.ignores(peer):
            return None if is_open else _Refusal(429, _TOO_OFTEN_WRONG, headers=_LATER)
        level = self._keys.level(token)
        if level is None and job is not None and self._keys.opens(token, job):
            # Workers use tickets among each other.
            scope[_TOKEN] = Level.WORKER
            return None
        if level is None:
            # On an open route too: its answer may show whether the token was right.
            scope[_HELD] = self._throttle.failed(peer)
            return None if is_open else _Refusal(401, _WRONG_TOKEN, _CHALLENGE)
        scope[_TOKEN] = level
        scope[_LEVEL] = level if level in VIEW else None
        return None if is_open or level in levels else _Refusal(403, _too_weak(level, levels))

    def _route(self, method: str, path: str) -> tuple[RouteRule, str | None]:
        """Return the rule of a route, and the job that its path names."""
        for rule in self._policy.rules:
            match = rule.path.fullmatch(path) if method in rule.methods else None
            if match is not None:
                return rule, match.groupdict().get("job")
        return _NO_RULE, None


_HINT = (
    "Set MINISPARK_TOKEN to the text of the token file that the master named when it started; "
    "on the same machine it is found automatically."
)
_CHALLENGE = ((b"www-authenticate", b"Bearer"),)
_LATER = ((b"retry-after", b"2"),)
_NO_TOKEN = _Refusal(
    401, ErrorInfo("MS-601", "this requires the token of the cluster", hint=_HINT), _CHALLENGE
)
_WRONG_TOKEN = ErrorInfo("MS-601", "the token is wrong", hint=_HINT)
_NO_SITE = ErrorInfo(
    "MS-603",
    "this request has no Origin header",
    hint="Browsers send one. Programs send their token as Authorization: Bearer TOKEN.",
)
_TOO_OFTEN_WRONG = ErrorInfo(
    "MS-608",
    "too many wrong tokens have come from this address",
    hint="Correct the token, then wait a few seconds.",
)
_TOO_MUCH_OPEN = ErrorInfo(
    "MS-609",
    "this address has too many requests open",
    hint="Close some connections, or wait for requests to end.",
)


def _too_weak(level: Level, levels: frozenset[Level]) -> ErrorInfo:
    enough = [other.value for other in Level if other in levels and other is not Level.ROOT]
    needed = f"a {' or '.join(enough)} token" if enough else "the shared secret"
    return ErrorInfo(
        "MS-607",
        f"this requires {needed}; a {level} token is not enough",
        hint="The cluster's administrator creates one with: minispark token"
        + (f" {enough[-1]}" if enough else " (do not pass on the shared secret itself)"),
    )


def _bearer(headers: Mapping[str, list[str]]) -> str | None:
    """Return the token of a request, None without one, an empty text for a malformed header."""
    values = headers.get("authorization", [])
    if not values:
        return None
    scheme, _, token = values[0].partition(" ")
    return token.strip() if len(values) == 1 and scheme.lower() == "bearer" else ""


def _too_large(headers: Mapping[str, list[str]], limit: int) -> _Refusal | None:
    announced = headers.get("content-length", ["0"])[0]
    if announced.isdecimal() and len(announced) < 20 and int(announced) <= limit:
        return None
    return _Refusal(413, _large(limit), headers=((b"connection", b"close"),))


def _foreign_site(headers: Mapping[str, list[str]]) -> _Refusal | None:
    own = headers["host"][0].lower()
    origins = (_origin_host(origin) for origin in headers.get("origin", []))
    sites = headers.get("sec-fetch-site", [])
    if all(origin == own for origin in origins) and all(
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
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return headers


def _limited(receive: Receive, limit: int, *, pause_s: float) -> Receive:
    """Limit a body while it is read: a chunked one has no announced size, and any may stall."""
    size, ended = 0, False

    async def counted() -> Message:
        nonlocal size, ended
        if ended:
            return await receive()
        try:
            async with asyncio.timeout(pause_s):
                message = await receive()
        except TimeoutError:
            raise _refused(408, _too_slow(pause_s)) from None
        size += len(message.get("body", b""))
        if size > limit:
            raise _refused(413, _large(limit))
        ended = not message.get("more_body", False)
        return message

    return counted


def _refused(status: int, info: ErrorInfo) -> HTTPException:
    # FastAPI's own exception takes a document, but a worker would have to import FastAPI.
    return HTTPException(status, cast("str", error_body(info)))


def _secured(send: Send) -> Send:
    """Add the security headers that an answer does not have."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            message["headers"] = headers + [h for h in SECURITY_HEADERS if h[0] not in present]
        await send(message)

    return sending


def _large(limit: int) -> ErrorInfo:
    return ErrorInfo("MS-604", f"the request is larger than {limit} bytes", hint="Send less.")


def _too_slow(pause_s: float) -> ErrorInfo:
    return ErrorInfo(
        "MS-610", f"no data of the request arrived for {pause_s:g} s", hint="Try again."
    )


def _is_stream(scope: Scope, headers: Mapping[str, list[str]]) -> bool:
    """Whether a request may stay open as long as its client wants."""
    accepted = ",".join(headers.get("accept", ()))
    return "text/event-stream" in accepted or b"wait_s=" in scope.get("query_string", b"")


def _wants_page(scope: Scope, headers: Mapping[str, list[str]]) -> bool:
    accepted = ",".join(headers.get("accept", ()))
    return scope["method"] in _SAFE_METHODS and "text/html" in accepted


async def _answer(
    send: Send, refusal: _Refusal, page: Callable[[int, ErrorInfo], str] | None
) -> None:
    if page is None:
        kind, body = b"application/json", json.dumps(error_body(refusal.info)).encode()
    else:
        kind, body = b"text/html; charset=utf-8", page(refusal.status, refusal.info).encode()
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        *SECURITY_HEADERS,
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
