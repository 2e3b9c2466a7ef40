"""TLS between everybody: client, master, workers; and what happens to those who listen in."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import polars as pl
import psutil
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

import minispark as ms
from minispark.blocks.fetch import FetchSettings, fetch_block
from minispark.blocks.meta import BlockUnavailable
from minispark.client.local_cluster import LocalCluster
from minispark.engines.http import MasterClient
from minispark.errors import MasterUnreachableError, UsageError
from minispark.tls import check_certificate, client_context

CA = "MINISPARK_CA_FILE"
HEAD = b"POST /internal/v1/workers"


@dataclass(frozen=True)
class Pki:
    """An authority, a certificate for this machine, and an authority that nobody knows."""

    authority: Path
    cert: Path
    key: Path
    stranger: Path
    strange_cert: Path
    strange_key: Path


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    found = []
    for name in ("ours", "strange"):
        authority = trustme.CA()
        own = authority.issue_cert("localhost", "127.0.0.1")
        paths = [folder / f"{name}-{what}.pem" for what in ("authority", "cert", "key")]
        authority.cert_pem.write_to_path(paths[0])
        own.private_key_pem.write_to_path(paths[2])
        for blob in own.cert_chain_pems:
            blob.write_to_path(paths[1], append=True)
        found += paths
    return Pki(*found)


@pytest.fixture(scope="module")
def cluster(pki: Pki) -> Iterator[LocalCluster]:
    """Everything by TLS, and every block by the network."""
    shown = ("--tls-cert", str(pki.cert), "--tls-key", str(pki.key))
    trusted = ("--ca-file", str(pki.authority))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINISPARK_CA_FILE", str(pki.authority))
        with LocalCluster(
            2,
            master_options=(*shown, *trusted),
            worker_options=(*shown, *trusted, "--no-map-blocks"),
        ) as running:
            yield running


def words(folder: Path) -> pl.LazyFrame:
    data = folder / "rows.csv"
    pl.DataFrame({"k": [f"k{i % 7}" for i in range(5_000)], "v": range(5_000)}).write_csv(data)
    return pl.scan_csv(data).group_by("k").agg(pl.sum("v")).sort("k")


@pytest.mark.process
def test_a_job_by_tls_only(cluster: LocalCluster, tmp_path: Path) -> None:
    """Client to master, worker to master, worker to worker, client to worker, master to worker."""
    frame, expected = words(tmp_path), words(tmp_path).collect()
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False, parallelism=4)
    assert frame.collect(engine=engine).equals(expected)
    workers = [worker["url"] for worker in cluster.client.workers()]
    assert [urlsplit(url).scheme for url in (cluster.url, *workers)] == ["https"] * 3
    (job, *_) = cluster.client.jobs()
    assert cluster.client.metrics(job.job_id).bytes_shuffled > 0
    assert cluster.client.result_frame(job.job_id, node="result").equals(expected)


@pytest.mark.process
def test_no_port_speaks_clear_text(cluster: LocalCluster) -> None:
    for port in ports(cluster):
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            plain.settimeout(60)
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                answer = plain.recv(1_000)
            except ConnectionResetError:
                answer = b""
            assert b"HTTP" not in answer
        url, context = f"https://127.0.0.1:{port}/healthz", client_context(None, os.environ[CA])
        with httpx2.Client(verify=context, trust_env=False) as client:
            assert client.get(url).json()["status"] == "ok"
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(plain)


def ports(cluster: LocalCluster) -> list[int]:
    owners = [cluster.master, *cluster.workers]
    return [
        connection.laddr.port
        for owner in owners
        if owner is not None
        for connection in psutil.Process(owner.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


@pytest.mark.process
def test_the_same_user_needs_to_name_nothing(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The master's certificate is found like its token: by a file that is this user's alone."""
    monkeypatch.delenv(CA)
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(cluster.directory / "state"))
    monkeypatch.setenv("MINISPARK_TOKEN", cluster.token)
    with MasterClient() as client:
        assert client.url == cluster.url
        assert len(client.workers()) == 2


@pytest.mark.process
@pytest.mark.parametrize("trusted", ["stranger", None])
def test_a_client_that_knows_another_authority(
    cluster: LocalCluster, pki: Pki, monkeypatch: pytest.MonkeyPatch, trusted: str | None
) -> None:
    monkeypatch.delenv(CA)
    if trusted is not None:
        monkeypatch.setenv(CA, str(pki.stranger))
    with MasterClient(cluster.url, token=cluster.token) as client:
        with pytest.raises(UsageError, match="certificate is not trusted") as caught:
            client.wait("job-x")
        assert caught.value.info.code == "MS-614"


@pytest.mark.process
def test_a_name_that_is_not_in_the_certificate(cluster: LocalCluster) -> None:
    with (
        relayed(cluster.url, host="127.0.0.3") as url,
        MasterClient(url, token=cluster.token) as client,
        pytest.raises(UsageError, match="not valid for"),
    ):
        client.jobs()


@contextmanager
def relayed(
    url: str,
    *,
    host: str = "127.0.0.1",
    spoil_at: int | None = None,
    spoilt: list[int] | None = None,
) -> Iterator[str]:
    """Somebody on the way: passes bytes on, and spoils one of an answer if asked to."""
    target = urlsplit(url)
    server = socket.create_server((host, 0))
    ended = threading.Event()

    def pump(source: socket.socket, sink: socket.socket, spoil: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(65_536):
                if spoil is not None and passed <= spoil < passed + len(data):
                    at = spoil - passed
                    data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                    if spoilt is not None:
                        spoilt.append(spoil)
                passed += len(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while not ended.is_set():
            try:
                caller, _ = server.accept()
            except OSError:
                return
            callee = socket.create_connection((target.hostname, target.port), 10)
            pairs = ((caller, callee, None), (callee, caller, spoil_at))
            threads = [threading.Thread(target=pump, args=pair, daemon=True) for pair in pairs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            caller.close()
            callee.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"{target.scheme}://{host}:{server.getsockname()[1]}"
    finally:
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(20)


@pytest.mark.process
@pytest.mark.parametrize("at", [100, 1_000, 2_500])
def test_one_bit_of_an_answer_that_changes_on_the_way(cluster: LocalCluster, at: int) -> None:
    """In the handshake or after it, where there is that much."""
    names = {worker["worker_id"] for worker in cluster.client.workers()}
    spoilt: list[int] = []
    with (
        relayed(cluster.url, spoil_at=at, spoilt=spoilt) as url,
        MasterClient(url, token=cluster.token) as client,
    ):
        for _ in range(10):
            try:
                found = {worker["worker_id"] for worker in client.workers()}
            except (MasterUnreachableError, UsageError) as error:
                assert error.info.code in ("MS-501", "MS-614"), error
            else:
                # Asked again on another connection, if need be.
                assert found == names
    assert spoilt


@pytest.mark.process
def test_a_block_that_changes_on_the_way(cluster: LocalCluster, tmp_path: Path) -> None:
    engine = ms.Engine(cluster.url, token=cluster.token, progress=False, parallelism=2)
    words(tmp_path).collect(engine=engine)
    (job, *_) = cluster.client.jobs()
    (source, *_), ticket = cluster.client.result_blocks(job.job_id, "result")
    assert source.url is not None
    ours = FetchSettings(may_map=False, token=ticket, ca_file=os.environ[CA], read_timeout_s=10)
    assert fetch_block(source, settings=ours).frame.height == 7
    with relayed(source.url, spoil_at=2_000) as url, pytest.raises(BlockUnavailable):
        for _ in range(10):
            fetch_block(replace(source, url=url), settings=ours)
    wrong = {"not trusted": replace(ours, ca_file=None), "401": replace(ours, token=None)}
    for said, settings in wrong.items():
        with pytest.raises(BlockUnavailable, match=said):
            fetch_block(source, settings=settings)


def worker(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [
        *(sys.executable, "-m", "minispark", "worker", "--master", url, "--port", "0"),
        *("--threads", "1", "--work-dir", str(folder / "work"), *options),
    ]
    kept = {name: value for name, value in os.environ.items() if name != CA}
    environment = {
        **kept,
        "MINISPARK_TOKEN": "a-token-that-nobody-else-may-see",
        "MINISPARK_STATE_DIR": str(folder / "state"),
    }
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)


@contextmanager
def impostor(pki: Pki, *, tls: bool) -> Iterator[tuple[str, list[bytes]]]:
    """Somebody who answers in the master's place, and what they are told."""
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.strange_cert, pki.strange_key)

    def listen() -> None:
        while True:
            try:
                caller, _ = server.accept()
                if tls:
                    caller = context.wrap_socket(
                        caller, server_side=True, do_handshake_on_connect=False
                    )
                with caller:
                    heard.append(caller.recv(65_536))
                    caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.getsockname()[1]}", heard
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(20)


@pytest.mark.process
@pytest.mark.parametrize("tls", [True, False])
def test_an_impostor_is_told_nothing(pki: Pki, tmp_path: Path, tls: bool) -> None:
    with impostor(pki, tls=tls) as (url, heard):
        ended = worker(url, tmp_path, "--ca-file", str(pki.authority))
        assert ended.returncode == 2, ended.stderr
        assert b"MS-614" in ended.stderr, ended.stderr
        assert (b"not trusted" if tls else b"speaks http, not https") in ended.stderr
        with (
            MasterClient(url, token="a-token-that-nobody-else-may-see") as client,  # noqa: S106
            pytest.raises(UsageError),
        ):
            client.jobs()
    assert HEAD not in b"".join(heard)
    assert b"Bearer" not in b"".join(heard)
    assert b"nobody-else" not in b"".join(heard)


def test_files_that_are_no_certificates(pki: Pki, tmp_path: Path) -> None:
    check_certificate(None, None)
    check_certificate(pki.cert, pki.key)
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    locked = tmp_path / "locked.pem"
    key = serialization.load_pem_private_key(pki.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pass"),
        )
    )
    wrong = [
        (pki.cert, None, "MS-106"),
        (None, pki.key, "MS-106"),
        (pki.cert, tmp_path / "missing", "MS-613"),
        (tmp_path, pki.key, "MS-613"),
        (pki.cert, pki.strange_key, "MS-613"),
        (pki.cert, locked, "MS-613"),
        (nonsense, pki.key, "MS-613"),
        (pki.cert, nonsense, "MS-613"),
    ]
    for cert, private, code in wrong:
        with pytest.raises(UsageError) as caught:
            check_certificate(cert, private)
        assert caught.value.info.code == code, (cert, private)
    for path in (nonsense, tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError) as caught:
            client_context("https://x", str(path))
        assert caught.value.info.code == "MS-613"


def test_clear_text_trusts_nobody(pki: Pki) -> None:
    context = client_context("http://x", str(pki.authority))
    assert context.get_ca_certs() == []
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("half", [["--tls-cert"], ["--tls-key"]])
def test_a_worker_with_half_a_certificate(pki: Pki, tmp_path: Path, half: list[str]) -> None:
    ended = worker("http://127.0.0.1:9", tmp_path, *half, str(pki.cert))
    assert ended.returncode == 2
    assert b"MS-106" in ended.stderr
