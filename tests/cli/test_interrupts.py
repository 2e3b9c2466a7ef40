"""Ctrl-C while one waits for a job, typed at a terminal and sent to a script."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from minispark.client.local_cluster import LocalCluster
from minispark.plan.build import PlanOutput, plan_outputs

from .test_cluster import own_environment

pytestmark = pytest.mark.process

DEADLINE_S = 60.0
CTRL_C = b"\x03"


class Typed:
    """A ``minispark`` command on a terminal of its own."""

    def __init__(self, cluster: LocalCluster, folder: Path, arguments: Sequence[str]) -> None:
        own = {"MINISPARK_MASTER": cluster.url, "MINISPARK_TOKEN": cluster.token, "TERM": "xterm"}
        self.screen = b""
        pid, self._terminal = pty.fork()
        if pid == 0:  # pragma: no cover - another process
            os.chdir(folder)
            command = [sys.executable, "-m", "minispark", *arguments]
            os.execve(sys.executable, command, own_environment(folder) | own)  # noqa: S606
        self.pid = pid

    def until(self, text: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while text.encode() not in self.screen:
            assert time.monotonic() < end, f"never said {text!r}: {self.screen!r}"
            self._read()

    def type(self, keys: bytes) -> None:
        self.screen = b""
        os.write(self._terminal, keys)

    def code(self) -> int:
        end = time.monotonic() + DEADLINE_S
        while True:
            self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self._terminal)
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, f"it goes on: {self.screen!r}"

    def _read(self) -> None:
        if select.select([self._terminal], [], [], 0.05)[0]:
            try:
                self.screen += os.read(self._terminal, 65_536)
            except OSError:  # It has hung up.
                threading.Event().wait(0.02)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster without workers: its tasks wait."""
    with LocalCluster(0, directory=tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("text\na b\n")
    nodes = [{"id": "read", "op": "read_csv", "path": str(tmp_path / "in.csv")}]
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"name": path.parent.name, "dag": {"nodes": nodes, "edges": []}}))
    return path


def status_of(cluster: LocalCluster, name: str) -> str:
    return next(view.status for view in cluster.client.jobs() if view.name == name)


@pytest.fixture
def typed(cluster: LocalCluster, tmp_path: Path) -> Iterator[Callable[..., Typed]]:
    started: list[Typed] = []

    def start(*arguments: str) -> Typed:
        started.append(Typed(cluster, tmp_path, arguments))
        return started[-1]

    yield start
    for one in started:
        try:
            os.kill(one.pid, signal.SIGKILL)
            os.waitpid(one.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def test_the_first_asks_and_the_second_cancels_and_leaves(
    cluster: LocalCluster, job: Path, typed: Callable[..., Typed]
) -> None:
    client = typed("submit", str(job))
    client.until("waits for workers")
    client.type(CTRL_C)
    client.until("Cancel job-")
    client.type(b"n\n")
    client.until("waits for workers")
    assert status_of(cluster, job.parent.name) == "ACCEPTED"
    client.type(CTRL_C)
    client.until("Cancel job-")
    client.type(CTRL_C)
    assert client.code() == 130
    assert status_of(cluster, job.parent.name) == "CANCELLED"


def test_a_yes_cancels_and_who_leaves_lets_it_run(
    cluster: LocalCluster, job: Path, typed: Callable[..., Typed]
) -> None:
    leaver = typed("submit", str(job))
    leaver.until("waits for workers")
    leaver.type(CTRL_C)
    leaver.until("Cancel job-")
    leaver.type(b"l\n")
    assert leaver.code() == 130
    assert status_of(cluster, job.parent.name) == "ACCEPTED"
    job_id = cluster.client.jobs()[0].job_id
    # Who only watches leaves by a second one.
    watcher = typed("status", job_id, "--watch")
    watcher.until("waits for workers")
    watcher.type(CTRL_C)
    watcher.until("Cancel job-")
    watcher.type(CTRL_C)
    assert watcher.code() == 130
    assert status_of(cluster, job.parent.name) == "ACCEPTED"
    watcher = typed("status", job_id, "--watch")
    watcher.until("waits for workers")
    watcher.type(CTRL_C)
    watcher.until("Cancel job-")
    watcher.type(b"y\n")
    assert watcher.code() == 130
    assert status_of(cluster, job.parent.name) == "CANCELLED"


@pytest.mark.parametrize(("owner", "signals"), [(True, 1), (True, 40), (False, 1)])
def test_off_a_terminal_there_is_no_question(
    cluster: LocalCluster, tmp_path: Path, job: Path, owner: bool, signals: int
) -> None:
    own = {"MINISPARK_MASTER": cluster.url, "MINISPARK_TOKEN": cluster.token}
    arguments = ["submit", str(job), "--wait"]
    if not owner:
        graph = plan_outputs([PlanOutput("out", pl.LazyFrame({"a": [1]}))])
        watched = cluster.client.submit_planned(graph, name=tmp_path.name)
        arguments = ["status", watched, "--watch"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minispark", *arguments],
        env=own_environment(tmp_path) | own,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    with process:
        line = process.stderr.readline()
        assert b"waits for workers" in line
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(0.002)
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert (b"is cancelled" in said) == owner
    assert status_of(cluster, tmp_path.name) == ("CANCELLED" if owner else "ACCEPTED")
