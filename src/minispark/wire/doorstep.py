"""The connection before the door: who makes one must say what it wants, and soon.

uvicorn waits for ever for the head of a request. A peer that opens connections and says nothing,
or a byte a minute, would take all the files that a server may open.

Covers: time for a head, connections per peer, the answer to what is no HTTP. Does not cover:
requests (`minispark.wire.guard`).
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from minispark.settings import DoorSettings
from minispark.wire.guard import SECURITY_HEADERS
from minispark.wire.throttle import peer_of

__all__ = ["server_options"]


def server_options(door: DoorSettings) -> dict[str, Any]:
    """Return what every uvicorn server of ours is given."""
    return {
        "http": type("Doorstep", (_Doorstep,), {"door": door}),
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Anybody on this machine could say that a request came from elsewhere.
        "proxy_headers": False,
    }


class _Doorstep(H11Protocol):
    door: ClassVar[DoorSettings] = DoorSettings()
    peer = ""
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless its peer has too many."""
        super().connection_made(transport)
        self.peer = peer_of(self.client)
        mine = sum(getattr(other, "peer", None) == self.peer for other in self.connections)
        if mine > self.door.connections:
            transport.close()
            return
        self._watch()

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
