"""The connection before the door: who makes one must say what it wants, and soon.

uvicorn waits for ever for the head of a request. A peer that opens connections and says nothing,
or a byte a minute, would take all the files that a server may open.

Covers: time for a head, making room for connections, the answer to what is no HTTP, what is logged
where a process can open no more files. Does not cover: whose connection goes
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
"""Connections that are taken before anything else is done. Each needs a file before it is known
whether there is room for it, and some turns of the loop pass until that of another is closed. More
wait in the kernel."""
_LOG_PERIOD_S = 60.0
_NO_FILES = "socket.accept() out of system resource"
"""What asyncio says then; it tries again a second later."""

_numbers = itertools.count()


def server_options(door: ConnectionLimits, *, servers: int = 1) -> dict[str, Any]:
    """Return what every uvicorn server of ours is given, of several in one process."""
    most = capacity(servers)
    return {
        "http": type("Doorstep", (_ConnectionLimiter,), {"door": door, "most": most}),
        "backlog": min(_ACCEPTED_AT_ONCE, max(1, most // 6)),
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Anybody on this machine could say that a request came from elsewhere.
        "proxy_headers": False,
    }


def log_accept_errors(
    loop: asyncio.AbstractEventLoop, log: Any, now: Callable[[], float] = monotonic_s
) -> None:
    """Say once a minute that connections cannot be taken, and not for each try."""
    said_s, count = -_LOG_PERIOD_S, 0

    def handle(loop: asyncio.AbstractEventLoop, found: dict[str, Any]) -> None:
        nonlocal said_s, count
        if found.get("message") != _NO_FILES:
            loop.default_exception_handler(found)
            return
        count += 1
        if now() - said_s >= _LOG_PERIOD_S:
            log.warning("connections_not_taken", reason=str(found.get("exception")), tries=count)
            said_s, count = now(), 0

    loop.set_exception_handler(handle)


class _ConnectionLimiter(H11Protocol):
    door: ClassVar[ConnectionLimits] = ConnectionLimits()
    most: ClassVar[int] = 1
    peer = ""
    number = 0
    level: Level | None = None
    closing = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and make room for it."""
        super().connection_made(transport)
        self.peer, self.number = peer_of(self.client), next(_numbers)
        self.app = self._admitting(self.app)
        leaver = to_close(self._others(), self, self.door, self.most)
        if leaver is not None:
            leaver.hang_up()
        if leaver is not self:
            self._watch()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def hang_up(self) -> None:
        """Close the connection; it does not count from now on."""
        self.closing = True
        self.transport.close()

    def admit(self, level: Level | None) -> bool:
        """Note of which level a request is; False where there is no place for that level."""
        self.level = level
        if may_stay(self._others(), self, self.door, self.most):
            return True
        leaver = lesser_to_close(self._others(), self)
        if leaver is None:
            self.level = None
            return False
        leaver.hang_up()
        return True

    def _others(self) -> list[_ConnectionLimiter]:
        """Return the connections of this server that are to stay, this one too."""
        return [
            one
            for one in self.connections
            if isinstance(one, _ConnectionLimiter) and not one.closing
        ]

    def _admitting(self, app: Any) -> Any:
        async def call(scope: Any, receive: Any, send: Any) -> None:
            scope[ADMIT] = self.admit
            await app(scope, receive, send)

        return call

    def data_received(self, data: bytes) -> None:
        """Take bytes; the clock runs while they are no whole head."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request, of which a part may be here already."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._unwatch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, with the headers of every other answer."""
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
            # Amid an answer to an earlier request there is no place for another.
            pass
        self.transport.close()

    def _watch(self) -> None:
        waiting = self.cycle is None or (
            self.cycle.response_complete and bool(self.conn.trailing_data[0])
        )
        if not waiting:
            self._unwatch()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.door.head_s, self._too_slow)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.close()
