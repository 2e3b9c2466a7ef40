"""A server of blocks that can be told to fail."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from minispark.blocks.store import BlockStore


class BlockServer(ThreadingHTTPServer):
    """Serves blocks as a worker does; ``answer`` (status, body) replaces what it would say."""

    daemon_threads = True

    def __init__(self, store: BlockStore) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = store
        self.token = "a-token"  # noqa: S105
        self.answer: tuple[int, bytes] | None = None
        self.hang_ups = 0
        self.requests = 0
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """Clients hang up; that is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: BlockServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests += 1
            if self.server.hang_ups:
                self.server.hang_ups -= 1
                self.close_connection = True
                self.connection.close()
                return
        status, body = self.server.answer or self._block()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _block(self) -> tuple[int, bytes]:
        if self.headers["Authorization"] != f"Bearer {self.server.token}":
            return 401, b""
        path = self.server.store.path_of(self.path.removeprefix("/internal/v1/blocks/"))
        if not path.exists():
            return 404, b""
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        return 206, path.read_bytes()[int(first) : int(last) + 1]
