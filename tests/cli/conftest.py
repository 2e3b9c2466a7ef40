"""The command line as a user meets it: its output and its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from minispark.cli import main
from minispark.client import LocalCluster

FOREIGN = ("MINISPARK_", "MASTER_", "WORKER_", "CACHE_", "NO_COLOR", "FORCE_COLOR")


@dataclass(frozen=True)
class Ran:
    """What a command line printed, and the exit code it left with."""

    returncode: int
    stdout: str
    stderr: str


Minispark = Callable[..., Ran]


@pytest.fixture
def minispark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Minispark:
    """Run ``minispark`` in this process, in a directory and with a state directory of its own."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MINISPARK_MASTER", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **environment: str) -> Ran:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as left:
                main(arguments)
        captured = capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="package")
def small_cluster() -> Iterator[LocalCluster]:
    """A master and one worker, for tests that leave their processes alone."""
    with LocalCluster(1) as running:
        yield running
