"""An HTTP server with its socket, in a process that handles signals itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from minispark.errors import UsageError

_BACKLOG = 512
"""Connections that wait in the kernel."""


class HttpServer(uvicorn.Server):
    """A uvicorn server that handles no signals: uvicorn would end the process with them."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start with the full backlog; that of uvicorn is the number accepted at once."""
        await super().startup(sockets)
        for sock in sockets or ():
            sock.listen(_BACKLOG)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def listening_socket(host: str, port: int, *, code: str, hint: str) -> socket.socket:
    """Return a socket that listens; port 0 is any free port.

    Raises
    ------
    UsageError
        The port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY on no other socket: 40 ms an answer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        msg = f"cannot listen on {host}:{port}: {error.strerror}"
        raise UsageError(msg, code=code, hint=hint) from error
    bound.listen(_BACKLOG)
    return bound


def url_of(host: str, port: int, *, tls: bool) -> str:
    """Return the URL of a server."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"
