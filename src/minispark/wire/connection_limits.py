"""Limits of connections before a request has arrived.

uvicorn waits for ever for the head of a request. A peer that opens connections and sends nothing,
or a byte a minute, would use up all the files that a server may open.

Covers: the time for a head, closing connections to make room, the answer to bytes that are not
HTTP, the log when a process can open no more files. Does not cover: which connection is closed
(`minispark.wire.open_connections`), requests (`minispark.wire.guard`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from minispark.clock import monotonic_s
from minispark.settings import ConnectionLimits
from minispark.tokens import Level
from minispark.wire.guard import ADMIT, SECURITY_HEADERS
from minispark.wire.open_connections import capacity, lesser_to_close, may_stay, to_close
from minispark.wire.throttle import peer_of

_ACCEPTED_AT_ONCE = 16
"""Connections that are accepted before other work. Each needs a file before the server knows
whether there is room for it, and the file of another one is closed only some turns of the loop
later. More connections wait in the kernel."""
_LOG_PERIOD_S = 60.0
_NO_FILES = "socket.accept() out of system resource"
"""The message of asyncio when it can open no more files; it tries again a second later."""

_numbers = itertools.count()


def server_options(limits: ConnectionLimits, *, servers: int = 1) -> dict[str, Any]:
    """Return the options of every uvicorn server; ``servers`` of them share a process."""
    most = capacity(servers)
    return {
        "http": type("ConnectionLimiter", (_ConnectionLimiter,), {"limits": limits, "most": most}),
        "backlog": min(_ACCEPTED_AT_ONCE, max(1, most // 6)),
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # With it, any process on this machine could send a false address.
        "proxy_headers": False,
    }


def log_accept_errors(
    loop: asyncio.AbstractEventLoop, log: Any, now: Callable[[], float] = monotonic_s
) -> None:
    """Log once a minute, not at each try, that connections cannot be accepted."""
    logged_s, count = -_LOG_PERIOD_S, 0

    def handle(loop: asyncio.AbstractEventLoop, event: dict[str, Any]) -> None:
        nonlocal logged_s, count
        if event.get("message") != _NO_FILES:
            loop.default_exception_handler(event)
            return
        count += 1
        if now() - logged_s >= _LOG_PERIOD_S:
            log.warning("connections_not_taken", reason=str(event.get("exception")), tries=count)
            logged_s, count = now(), 0

    loop.set_exception_handler(handle)


class _ConnectionLimiter(H11Protocol):
    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    most: ClassVar[int] = 1
    peer = ""
    number = 0
    level: Level | None = None
    closing = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, and close one if there are too many."""
        super().connection_made(transport)
        self.peer, self.number = peer_of(self.client), next(_numbers)
        app = self.app

        async def admit_and_call(scope: Any, receive: Any, send: Any) -> None:
            scope[ADMIT] = self.admit
            await app(scope, receive, send)

        self.app = admit_and_call
        closed = to_close(self._open_connections(), self, self.limits, self.most)
        if closed is not None:
            closed.hang_up()
        if closed is not self:
            self._watch()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def hang_up(self) -> None:
        """Close the connection, which no longer counts as open."""
        self.closing = True
        self.transport.close()

    def admit(self, level: Level | None) -> bool:
        """Set the level of the connection; return False if there is no place for that level."""
        self.level = level
        if may_stay(self._open_connections(), self, self.limits, self.most):
            return True
        closed = lesser_to_close(self._open_connections(), self)
        if closed is None:
            self.level = None
            return False
        closed.hang_up()
        return True

    def _open_connections(self) -> list[_ConnectionLimiter]:
        """Return the open connections of this server, with this one."""
        return [c for c in self.connections if isinstance(c, _ConnectionLimiter) and not c.closing]

    def data_received(self, data: bytes) -> None:
        """Take bytes in; the time for the head runs until it is complete."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request; a part of it may have arrived already."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of the connection."""
        self._unwatch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP, with the headers of every other answer."""
        body = msg.encode("ascii", "replace")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *SECURITY_HEADERS,
        ]
        try:
            events = (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            # The answer to an earlier request is not complete.
            pass
        self.transport.close()

    def _watch(self) -> None:
        waiting = self.cycle is None or (
            self.cycle.response_complete and bool(self.conn.trailing_data[0])
        )
        if not waiting:
            self._unwatch()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_s, self._too_slow)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.close()
