"""A client of something that is not a master, or not there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from minispark import config
from minispark.engines.http import MasterClient
from minispark.errors import MasterUnreachableError, UsageError

ANSWERS = {
    "/": (404, "text/html", b"<html>"),
    "page": (200, "text/html", b"<html>"),
    "refusal": (401, "application/json", b'{"error": {"code": "MS-601", "message": "no"}}'),
    "too large": (413, "application/json", b'{"error": {"code": "MS-604", "message": "large"}}'),
    "worker": (200, "application/json", b'{"status": "ok", "server": "worker"}'),
}


class _Server(HTTPServer):
    answers: dict[str, str]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        status, kind, body = ANSWERS[self.server.answers.get(self.path, "/")]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    running = _Server(("127.0.0.1", 0), _Handler)
    running.answers = {}
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.mark.parametrize(
    ("answers", "message", "code"),
    [
        ({}, "not a Mini-Spark master: it answers with HTTP status 404", "MS-502"),
        ({"/api/v1/workers": "page"}, "not a Mini-Spark master", "MS-502"),
        ({"/healthz": "worker"}, "is a worker, not a master", "MS-502"),
        ({"/api/v1/workers": "refusal", "/healthz": "worker"}, "is a worker", "MS-502"),
        ({"/api/v1/workers": "refusal"}, "does not accept the token", "MS-601"),
    ],
)
def test_what_answers_is_named(
    server: _Server, answers: dict[str, str], message: str, code: str
) -> None:
    server.answers = answers
    with (
        MasterClient(f"127.0.0.1:{server.server_address[1]}", token="t") as client,  # noqa: S106
        pytest.raises(UsageError, match=message) as refused,
    ):
        client.workers()
    assert refused.value.info.code == code


def test_a_worker_is_named_to_who_submits_a_job(server: _Server) -> None:
    server.answers = {"/api/v1/jobs": "too large", "/healthz": "worker"}
    with (
        MasterClient(f"127.0.0.1:{server.server_address[1]}", token="t") as client,  # noqa: S106
        pytest.raises(UsageError, match="is a worker, not a master"),
    ):
        client.submit_json({})


def test_https_to_a_server_without_it_is_named(server: _Server) -> None:
    with (
        MasterClient(f"https://127.0.0.1:{server.server_address[1]}", token="t") as client,  # noqa: S106
        pytest.raises(UsageError, match="speaks http, not https") as refused,
    ):
        client.workers()
    assert refused.value.info.hint == f"Write http://127.0.0.1:{server.server_address[1]}"


def test_a_master_that_has_ended_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "state"))
    text = '{"url": "http://127.0.0.1:9", "token_file": null, "pid": 4711}'
    config.write_private(config.secure_dir(tmp_path / "state") / "master.json", text)
    with MasterClient() as client, pytest.raises(MasterUnreachableError) as unreachable:
        client.workers()
    assert "(process 4711) has ended" in str(unreachable.value.info.hint)
