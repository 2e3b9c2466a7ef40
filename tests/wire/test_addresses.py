"""The address of a master as a user writes it, and which server answers there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme

from minispark.errors import UsageError
from minispark.wire.addresses import master_url, server_kind, server_of


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost:8080"),
        ("[::1]:81", "http://[::1]:81"),
        (" http://host:8080/ ", "http://host:8080"),
        ("HTTPS://Host", "https://host"),
    ],
)
def test_the_url_of_an_address(text: str, url: str) -> None:
    assert master_url(text) == url


@pytest.mark.parametrize(
    ("text", "problem", "advice"),
    [
        ("host:8080", "http or https", "https://host:8080"),
        ("host", "http or https", "http://host:8080"),
        ("ftp://host", "ftp://", "http://HOST:PORT"),
        ("http://host:99999", "port", "http://HOST:PORT"),
        ("http://host:0", "port", "http://HOST:PORT"),
        ("127.0.0.1:x", "port", "http://HOST:PORT"),
        ("http://", "host", "http://HOST:PORT"),
        (":8080", "host", "http://HOST:PORT"),
        ("", "host", "http://HOST:PORT"),
        ("http://a b", "host", "http://HOST:PORT"),
        ("http://host:1/jobs/job-1", "after the port", "Write http://host:1"),
        ("127.0.0.1:1/login?next=/", "after the port", "Write http://127.0.0.1:1"),
        ("http://me:secret@host:1", "user name", "http://host:1"),
    ],
)
def test_an_address_that_is_refused(text: str, problem: str, advice: str) -> None:
    with pytest.raises(UsageError, match=problem) as refused:
        master_url(text)
    assert refused.value.info.code == "MS-503"
    assert advice in str(refused.value.info.hint)
    assert "secret" not in f"{refused.value} {refused.value.info.hint}"


def test_names_of_loopback_are_one_server() -> None:
    assert server_of("http://localhost:1") == server_of("http://[::1]:1")
    assert server_of("http://localhost:1") != server_of("http://localhost:2")
    assert server_of("https://a.example") == ("a.example", 443)


class _Worker(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert self.headers.get("Authorization") is None
        body = b'{"status": "ok", "server": "worker"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["http", "https"])
def worker(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """Run a server like that of a worker; return its scheme and port."""
    server = HTTPServer(("127.0.0.1", 0), _Worker)
    if request.param == "https":
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield request.param, server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_says_what_it_is_and_what_it_speaks(worker: tuple[str, int]) -> None:
    scheme, port = worker
    other = {"http": "https", "https": "http"}[scheme]
    assert server_kind(f"{scheme}://127.0.0.1:{port}") == "worker"
    assert server_kind(f"{other}://127.0.0.1:{port}") == scheme


def test_nothing_is_said_of_a_server_that_is_not_there() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        for scheme in ("http", "https"):
            assert server_kind(f"{scheme}://127.0.0.1:{bound.getsockname()[1]}") is None
