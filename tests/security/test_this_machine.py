"""What the rest of this machine gets of a cluster: sockets, files, other accounts."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import polars as pl
import psutil
import pytest

import minispark as ms
from minispark import config
from minispark.client.local_cluster import LocalCluster
from minispark.discovery import Discovery, advertised
from minispark.engines import block_dirs as places
from minispark.engines.http import MasterClient
from minispark.errors import UsageError
from minispark.scheduler.commands import JobStatus
from minispark.settings import CacheSettings

pytestmark = pytest.mark.process

NOBODY = 65_534
TMPFS = Path("/dev/shm")  # noqa: S108
EVERYWHERE = "0.0.0.0"  # noqa: S104


def listening(pid: int) -> set[str]:
    """Addresses at which a process or a child of it can be spoken to, by whatever protocol."""
    process = psutil.Process(pid)
    return {
        connection.laddr.ip if connection.family != socket.AF_UNIX else str(connection.laddr)
        for one in (process, *process.children(recursive=True))
        for connection in one.net_connections("all")
        if connection.status == psutil.CONN_LISTEN
        or (connection.type == socket.SOCK_DGRAM and connection.laddr and not connection.raddr)
    }


def listeners(cluster: LocalCluster) -> dict[str, set[str]]:
    found = [cluster.master, *cluster.workers]
    return {process.name: listening(process.pid) for process in found if process is not None}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "rows.csv"
    pl.DataFrame({"k": [f"k{i % 7}" for i in range(5_000)], "v": range(5_000)}).write_csv(file)
    return file


@pytest.fixture(scope="module")
def cluster(rows: Path) -> Iterator[LocalCluster]:
    """A cluster that has run jobs and still holds their blocks, where everybody can go."""
    with tempfile.TemporaryDirectory(prefix="minispark-test-") as folder:
        Path(folder).chmod(0o755)
        options, directory = ["--no-map-blocks"], Path(folder) / "cluster"
        with LocalCluster(2, worker_options=options, directory=directory) as running:
            engine = ms.Engine(running.url, token=running.token, progress=False, parallelism=3)
            pl.scan_csv(rows).group_by("k").agg(pl.sum("v")).collect(engine=engine)
            dag = {
                "nodes": [
                    {"id": "read", "op": "read_csv", "path": str(rows)},
                    {"id": "kept", "op": "cache"},
                    {"id": "sum", "op": "reduce_by_key", "key": "k", "value": "v", "fn": "sum"},
                ],
                "edges": [["read", "kept"], ["kept", "sum"]],
            }
            job = running.client.submit_json({"name": "a-name-to-hide", "dag": dag})
            assert running.client.wait(job).status is JobStatus.SUCCEEDED
            yield running


def test_only_the_address_that_was_asked_for_is_listened_at(cluster: LocalCluster) -> None:
    found = listeners(cluster)
    assert len(found) == 3
    assert all(addresses == {"127.0.0.1"} for addresses in found.values()), found


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_another_address_is_the_only_one(address: str) -> None:
    try:
        socket.create_server((address, 0), family=family_of(address)).close()
    except OSError:
        pytest.skip(f"this machine has no {address}")
    options = ("--host", address)
    with LocalCluster(1, master_options=options, worker_options=options) as cluster:
        found = listeners(cluster)
        assert all(addresses == {address} for addresses in found.values()), found
        name = f"[{address}]" if ":" in address else address
        (worker,) = cluster.client.workers()
        assert worker["url"].startswith(f"http://{name}:")
        assert cluster.url.startswith(f"http://{name}:")


@pytest.mark.parametrize("command", ["master", "worker"])
def test_every_address_needs_tls_or_insecure(tmp_path: Path, command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "minispark", command, "--host", EVERYWHERE, "--port", "0"],
        env={**os.environ, "MINISPARK_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert b"MS-107" in ended.stderr, ended.stderr


def test_the_embedded_engine_listens_nowhere(rows: Path) -> None:
    before = listening(os.getpid())
    found: list[set[str]] = []
    engine = ms.Engine(progress=False, parallelism=4)
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            found.append(listening(os.getpid()))
            done.wait(0.02)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        pl.scan_csv(rows).group_by("k").agg(pl.sum("v")).collect(engine=engine)
    finally:
        done.set()
        looking.join()
    assert found
    assert all(addresses <= before for addresses in found), found


def test_everything_that_is_written_is_the_owners_alone(cluster: LocalCluster) -> None:
    paths = list(cluster.directory.rglob("*"))
    assert {path.name for path in paths} >= {"journal.db", "journal.db-wal", "master.json"}
    assert any(path.suffix == ".arrow" for path in paths)
    for path in [cluster.directory, *paths, *in_memory()]:
        status = path.lstat()
        assert status.st_uid == os.getuid(), path
        if stat.S_ISLNK(status.st_mode):
            # What a cache has in memory has its name among the blocks.
            assert path.resolve(strict=True).is_relative_to(TMPFS / f"minispark-{os.getuid()}")
            continue
        wanted = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
        assert stat.S_IMODE(status.st_mode) == wanted, (path, oct(status.st_mode))


def in_memory() -> list[Path]:
    """What lies on the tmpfs of workers that live as long as the tests of this file."""
    own = [folder for folder in TMPFS.glob(f"minispark-{os.getuid()}") if folder.exists()]
    return own + [path for folder in own for path in folder.glob("w-*/**/*")]


def as_nobody(*command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
    )


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@needs_root
def test_another_account_can_reach_where_it_all_lies(cluster: LocalCluster) -> None:
    """Else the next test would prove nothing: what it is refused must be the files themselves."""
    assert as_nobody("ls", str(cluster.directory.parent)).returncode == 0
    assert as_nobody("ls", str(cluster.directory)).returncode != 0
    cluster.directory.chmod(0o755)
    try:
        assert as_nobody("ls", str(cluster.directory)).returncode == 0
    finally:
        cluster.directory.chmod(0o700)


@needs_root
def test_another_account_reads_nothing(cluster: LocalCluster) -> None:
    """Whatever lies there by its full name, also if the folder that holds it all were open."""
    pids = [process.pid for process in (cluster.master, *cluster.workers) if process is not None]
    pids += [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    secrets = [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("environ", "mem", "maps")]
    files = [path for path in [*cluster.directory.rglob("*"), *in_memory()] if path.is_file()]
    assert len(files) > 10
    cluster.directory.chmod(0o755)
    try:
        names = b"\0".join(os.fsencode(path) for path in [*files, *secrets])
        read = as_nobody("xargs", "-0", "-n", "1", "head", "-c", "100", "--", given=names)
        assert read.stdout == b""
        assert read.stderr.count(b"Permission denied") == len(files) + len(secrets), read.stderr
        folders = [path for path in cluster.directory.rglob("*") if path.is_dir()]
        for command, name in (("ls", ""), ("touch", "x")):
            names = b"\0".join(os.fsencode(folder / name) for folder in folders)
            tried = as_nobody("xargs", "-0", "-n", "1", command, "--", given=names)
            assert tried.stdout == b""
            assert tried.stderr.count(b"Permission denied") == len(folders)
    finally:
        cluster.directory.chmod(0o700)
    lines = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)
    assert cluster.token.encode() not in lines


def test_nobody_is_told_more_than_figures_on_loopback(cluster: LocalCluster, rows: Path) -> None:
    """Loopback is not a person: what anybody here may ask for names no file, job or error."""
    (job, *_) = cluster.client.jobs()
    urls = [f"{cluster.url}{path}" for path in ("/healthz", "/metrics", "/api/v1/state")]
    urls += [f"{cluster.url}/api/v1/jobs/{job.job_id}{what}" for what in ("/metrics", "/stages")]
    urls += [f"{cluster.url}/api/v1/metrics/{what}" for what in ("system", "jobs", "failures")]
    closed = ["/api/v1/jobs", f"/api/v1/jobs/{job.job_id}", "/api/v1/workers"]
    closed += [f"/api/v1/jobs/{job.job_id}/{what}" for what in ("results", "events", "tasks")]
    with httpx2.Client(trust_env=False) as client:
        for url in urls:
            text = client.get(url).raise_for_status().text
            for hidden in ("a-name-to-hide", str(rows.parent), rows.name, cluster.token, "k1,"):
                assert hidden not in text, (url, hidden)
            assert str(cluster.directory) not in text, url
        for path in closed:
            assert client.get(f"{cluster.url}{path}").status_code == 401, path


def test_names_that_somebody_else_has_taken(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody can write to where temporary files go: a job goes on elsewhere, not in a trap."""
    trap = tmp_path / "trap"
    for place in ("memory", "disk"):
        (tmp_path / place).mkdir()
        (tmp_path / place / f"minispark-{os.getuid()}").symlink_to(trap)
    trap.mkdir()
    monkeypatch.setattr(places, "TMPFS", tmp_path / "memory")
    monkeypatch.setattr("minispark.blocks.cache.TMPFS", tmp_path / "memory")
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "state"))
    made = places.BlockDirectories(tmp_path / "disk")
    stores = [made.store_for(size).directory for size in (1, 1 << 60)]
    assert all(store.is_relative_to(tmp_path / "state") for store in stores), stores
    cache = made.cache(CacheSettings(memory_bytes=1 << 20))
    assert cache is not None
    assert list(trap.iterdir()) == []
    made.close()
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("url", ["http://192.0.2.1:8080", "http://localhost.example:1"])
def test_no_token_goes_beyond_this_machine_in_clear_text(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("MINISPARK_INSECURE", raising=False)
    with pytest.raises(UsageError, match="unencrypted") as refused:
        MasterClient(url, token="t")  # noqa: S106
    assert (refused.value.info.code, "MINISPARK_INSECURE" in str(refused.value.info.hint)) == (
        "MS-107",
        True,
    )
    query = pl.DataFrame({"a": [1]}).lazy()
    with pytest.raises(UsageError, match="unencrypted"):
        query.collect(engine=ms.Engine(url, token="t"))  # noqa: S106
    for harmless in ("http://127.0.0.5:1", "http://[::1]:1", "http://LOCALHOST:1", "https://b"):
        MasterClient(harmless, token="t").close()  # noqa: S106
    # The master that this user runs here may have a name that others reach.
    running = Discovery(url, token_file=None, pid=os.getpid())
    with advertised(running, state=tmp_path / "state", registry=None):
        MasterClient(f"{url}/", token="t").close()  # noqa: S106
    monkeypatch.setenv("MINISPARK_INSECURE", "0")
    with pytest.raises(UsageError):
        MasterClient(url, token="t")  # noqa: S106
    monkeypatch.setenv("MINISPARK_INSECURE", "1")
    MasterClient(url, token="t").close()  # noqa: S106


def test_a_worker_sends_its_token_to_no_other_machine_in_clear_text(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "minispark", "worker", "--port", "0"]
    ended = subprocess.run(
        [*command, "--master", "http://192.0.2.1:8080"],
        env={**os.environ, "MINISPARK_STATE_DIR": str(tmp_path / "state"), "MINISPARK_TOKEN": "t"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert b"MS-107" in ended.stderr, ended.stderr
    assert b"http://192.0.2.1:8080" in ended.stderr


SQUATTER = f"""
import os, socket
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    print(connection.recv(4096), flush=True)
    connection.close()
"""


@needs_root
@pytest.mark.parametrize("command", ["jobs", "worker"])
def test_who_takes_the_port_of_a_master_gets_no_token(tmp_path: Path, command: str) -> None:
    """Anybody may listen at a port whose master is not running."""
    with subprocess.Popen([sys.executable, "-c", SQUATTER], stdout=subprocess.PIPE) as squatter:
        assert squatter.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(squatter.stdout.readline())}"
            state = tmp_path / "state"
            config.find_token(state, create=True)
            own = {**os.environ, "MINISPARK_STATE_DIR": str(state)}
            options = ["--port", "0"] if command == "worker" else []
            ended = subprocess.run(
                [sys.executable, "-m", "minispark", command, "--master", url, *options],
                env=own,
                capture_output=True,
                timeout=60,
                check=False,
            )
            assert ended.returncode == 2
            assert b"MS-615" in ended.stderr, ended.stderr
            assert squatter.stdout.readline() == b"b''\n"
        finally:
            squatter.kill()
