"""A master that serves its pages, and runs nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from minispark.master import Service, create_app
from minispark.settings import ConnectionLimits
from minispark.wire.connection_limits import server_options


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """Serve the pages of a master on a free port and yield its URL."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(service), **server_options(ConnectionLimits()))
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        service.components.jobs.close()
        thread.join(30)
