"""Downloads that break off, and go on."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import pytest

from minispark.client import LocalCluster, MasterClient
from minispark.engines.resume_download import save
from minispark.errors import MasterUnreachableError, UsageError

ROWS = 30_000
FORMATS = ("csv", "jsonl", "parquet", "arrow")


class Frayed:
    """A TCP proxy that breaks each connection after a number of bytes."""

    def __init__(self, target: tuple[str, int], *, after_bytes: int) -> None:
        self._target, self._after = target, after_bytes
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        left = self._after
        with client, socket.create_connection(self._target) as server:
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            with contextlib.suppress(OSError):
                while left > 0 and (chunk := server.recv(min(left, 65_536))):
                    client.sendall(chunk)
                    left -= len(chunk)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            sink.sendall(chunk)


@pytest.fixture(scope="module")
def job(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    pl.select(pl.int_range(ROWS).alias("n")).with_columns(
        text=pl.lit("h") + pl.col("n").hash(seed=7).cast(pl.String)
    ).write_csv(path)
    dag = {"nodes": [{"id": "read", "op": "read_csv", "path": str(path)}], "edges": []}
    with MasterClient(cluster.url, token=cluster.token) as client:
        job_id = client.submit_json({"name": "rows", "dag": dag, "parallelism": 3})
        assert client.wait(job_id).status == "SUCCEEDED"
    return job_id


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[MasterClient]:
    with MasterClient(cluster.url, token=cluster.token) as made:
        yield made


@pytest.mark.process
@pytest.mark.parametrize("format_", FORMATS)
def test_a_download_that_breaks_goes_on(
    cluster: LocalCluster, client: MasterClient, job: str, tmp_path: Path, format_: str
) -> None:
    whole = tmp_path / "whole"
    client.save_results(job, whole, format=format_)
    size = whole.stat().st_size
    target = httpx2.URL(cluster.url)
    frayed = Frayed((target.host, target.port or 80), after_bytes=size // 4)
    with (
        contextlib.closing(frayed),
        MasterClient(frayed.url, token=cluster.token) as through,
    ):
        pieces = tmp_path / "pieces"
        assert through.save_results(job, pieces, format=format_) == size
    assert pieces.read_bytes() == whole.read_bytes()
    assert frayed.connections > 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pieces", "whole"]


@pytest.mark.process
def test_parts_are_those_of_the_whole(
    cluster: LocalCluster, client: MasterClient, job: str
) -> None:
    url = f"{cluster.url}/api/v1/jobs/{job}/results"
    headers = {"Authorization": f"Bearer {cluster.token}"}

    def ask(**more: str) -> httpx2.Response:
        asked = headers | {name.replace("_", "-"): value for name, value in more.items()}
        return httpx2.get(url, params={"format": "csv"}, headers=asked, trust_env=False)

    whole = ask()
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    for start, end in ((0, 0), (0, size - 1), (17, 4_000), (size - 1, size + 100)):
        part = ask(Range=f"bytes={start}-{end}")
        last = min(end, size - 1)
        assert part.status_code == 206
        assert part.headers["content-range"] == f"bytes {start}-{last}/{size}"
        assert part.content == whole.content[start : last + 1]
    beyond = ask(Range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert ask(Range="bytes=5-", If_Range='"of-another"').content == whole.content
    assert ask(Range="bytes=5-", If_Range=whole.headers["etag"]).status_code == 206
    assert ask(Range="rows=5-").status_code == 200
    assert ask(Range="bytes=9-5").status_code == 416


# What `save` makes of answers, without a network.


class Answers:
    """A server of one text that breaks off at given places."""

    def __init__(self, text: bytes, *, tag: str = "aa", breaks: tuple[int, ...] = ()) -> None:
        self.text, self.tag, self.breaks = text, tag, list(breaks)
        self.asked: list[dict[str, str]] = []

    @contextlib.contextmanager
    def __call__(self, *, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        self.asked.append(headers)
        start, status, size = 0, 200, len(self.text)
        if headers.get("If-Range") == f'"{self.tag}"':
            start = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
            status = 206 if start < size else 416
        more: dict[str, Any] = {"headers": {"ETag": f'"{self.tag}"'}}
        if status == 416:
            more["headers"]["Content-Range"] = f"bytes */{size}"
        response = httpx2.Response(status, stream=Body(self, start), **more)
        try:
            yield response
        except httpx2.HTTPError as error:
            raise MasterUnreachableError(str(error)) from error


class Body(httpx2.SyncByteStream):
    def __init__(self, answers: Answers, start: int) -> None:
        self._answers, self._start = answers, start

    def __iter__(self) -> Iterator[bytes]:
        until = self._answers.breaks.pop(0) if self._answers.breaks else None
        yield self._answers.text[self._start : until]
        if until is not None:
            msg = "broken"
            raise httpx2.ReadError(msg)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minispark.engines.resume_download._PAUSE_S", 0.0)


def test_it_goes_on_after_each_break(tmp_path: Path) -> None:
    answers = Answers(b"0123456789", breaks=(3, 3, 8, 10))
    assert save(answers, tmp_path / "x") == 10
    assert (tmp_path / "x").read_bytes() == answers.text
    assert [asked.get("Range") for asked in answers.asked] == [
        *(None, "bytes=3-", "bytes=3-", "bytes=8-", "bytes=10-")
    ]


def test_it_gives_up_where_nothing_comes_and_the_next_call_goes_on(tmp_path: Path) -> None:
    answers = Answers(b"0123456789", breaks=(4, *[4] * 20))
    with pytest.raises(MasterUnreachableError) as caught:
        save(answers, tmp_path / "x")
    assert "4 bytes were downloaded" in str(caught.value.info.hint)
    assert not (tmp_path / "x").exists()
    answers.breaks.clear()
    assert save(answers, tmp_path / "x") == 10
    assert answers.asked[-1]["Range"] == "bytes=4-"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_other_bytes_start_again(tmp_path: Path) -> None:
    old = Answers(b"0123456789", breaks=(4,) * 9)
    with pytest.raises(MasterUnreachableError):
        save(old, tmp_path / "x")
    assert save(Answers(b"abc", tag="bb"), tmp_path / "x") == 3
    assert (tmp_path / "x").read_bytes() == b"abc"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_one_file_has_one_download(tmp_path: Path) -> None:
    part = tmp_path / ".x.aa.part"
    part.write_bytes(b"012")
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another download"):
            save(Answers(b"0123"), tmp_path / "x")
    assert save(Answers(b"0123"), tmp_path / "x") == 4
