"""A server of HTTP in a process of ours: its socket, and its signals left to the process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from minispark.errors import UsageError

_BACKLOG = 512
"""Connections that wait in the kernel."""


class HttpServer(uvicorn.Server):
    """Leaves signals to its process: uvicorn would end the process with what it caught."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, with the full backlog: uvicorn has set it to what is accepted at once."""
        await super().startup(sockets)
        for sock in sockets or ():
            sock.listen(_BACKLOG)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listening_socket(host: str, port: int, *, code: str, hint: str) -> socket.socket:
    """Return a socket that listens; port 0 is any free one.

    Raises
    ------
    UsageError
        The port is taken or the address is not of this machine; with ``code`` and ``hint``.
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
