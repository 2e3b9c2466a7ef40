"""A few jobs on real processes that are killed, stopped and cut off; ``make chaos`` runs more."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from tests.chaos.jobs import KINDS, write_tables
from tests.chaos.suite import SuiteSettings, run_suite

from minispark.testing.chaos.faults import Fault, draw
from minispark.testing.chaos.faulty_cluster import FaultyCluster
from minispark.testing.chaos.tcp_proxy import TcpProxy

SEED = int(os.environ.get("MINISPARK_CHAOS_SEED", "11"))
WAIT_S = 60.0


@pytest.mark.process
def test_jobs_under_chaos_give_what_polars_gives_and_leave_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    settings = SuiteSettings(seed=SEED, jobs=5, lines=30_000, partitions=12)
    summary = run_suite(settings, tmp_path, report=lines.append)
    report = "\n".join([f"seed {SEED}", *lines])
    assert summary.wrong == [], report
    assert summary.jobs == 5
    assert summary.faults.total() >= 12, report
    assert summary.failures.total() > 0, report
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_what_is_left_behind_is_found(tmp_path: Path) -> None:
    with FaultyCluster(tmp_path, workers=1) as cluster:
        while_it_runs = cluster.leftovers()
    kinds = Counter(line.split()[0] for line in while_it_runs)
    assert kinds["process"] >= 3
    assert kinds["port"] >= 4
    assert kinds["file"] >= 1
    assert cluster.leftovers() == []


def test_a_wrong_answer_is_found(tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "tables", seed=1, lines=200)
    for number, kind in enumerate(KINDS):
        job = kind(tables, 3, tmp_path / f"out-{number}")
        job.check(job.expected)
        with pytest.raises(AssertionError):
            job.check(job.expected.slice(1))
        if job.ordered:
            with pytest.raises(AssertionError):
                job.check(job.expected.reverse())
        else:
            job.check(job.expected.sample(fraction=1, shuffle=True, seed=1))


def test_output_that_is_not_whole_is_found(tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "tables", seed=1, lines=200)
    (kind,) = [kind for kind in KINDS if kind.__name__ == "written_job"]
    out = tmp_path / "out"
    job = kind(tables, 3, out)
    out.mkdir()
    pl.DataFrame({"key": ["a"], "value": [1]}).write_csv(out / "part-00000.csv")
    with pytest.raises(AssertionError):
        job.read_written()
    (out / "_SUCCESS").touch()
    assert job.read_written().height == 1
    (out / "_minispark-job").mkdir()
    with pytest.raises(AssertionError):
        job.read_written()


def test_a_seed_draws_the_same_faults_and_all_kinds_of_them() -> None:
    drawn = [draw(SEED, number, faults=4) for number in range(100)]
    assert drawn == [draw(SEED, number, faults=4) for number in range(100)]
    assert drawn != [draw(SEED + 1, number, faults=4) for number in range(100)]
    counted = Counter(step.fault for steps in drawn for step in steps)
    assert set(counted) == set(Fault)
    assert all(steps == tuple(sorted(steps, key=lambda s: s.after_percent)) for steps in drawn)


class _Echo:
    """A server that sends back what it is sent."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = self.server.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(peer,), daemon=True).start()

    def _echo(self, peer: socket.socket) -> None:
        with peer:
            try:
                while data := peer.recv(1024):
                    peer.sendall(data)
            except OSError:
                return


def _is_broken(line: socket.socket) -> bool:
    try:
        return line.recv(100) == b""
    except ConnectionError:
        return True


def test_a_cut_that_swallows_delays_and_one_that_refuses_breaks() -> None:
    echo = _Echo()
    proxy = TcpProxy(("127.0.0.1", 0), echo.address)
    try:
        with socket.create_connection(proxy.address, timeout=WAIT_S) as line:
            line.sendall(b"before")
            assert line.recv(100) == b"before"
            proxy.cut(refuse=False)
            line.sendall(b"during")
            line.settimeout(0.2)
            with pytest.raises(TimeoutError):
                line.recv(100)
            proxy.heal()
            line.settimeout(WAIT_S)
            assert line.recv(100) == b"during"
            proxy.cut(refuse=True)
            assert _is_broken(line)
        with pytest.raises(ConnectionError):
            socket.create_connection(proxy.address, timeout=WAIT_S)
        proxy.heal()
        with socket.create_connection(proxy.address, timeout=WAIT_S) as line:
            line.sendall(b"after")
            assert line.recv(100) == b"after"
    finally:
        proxy.close()
        proxy.close()
        echo.server.close()
