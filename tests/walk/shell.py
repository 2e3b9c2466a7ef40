"""A reader of a page at work: a shell in the root of the repository, with ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 560
FOREIGN = ("MINISPARK_", "MASTER_", "WORKER_", "CACHE_", "MAKE", "MFLAGS", "PYTHON", "COMPOSE_")


def free_port(*, pair: bool = False) -> int:
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 1000 if pair else 0))
            except (OSError, OverflowError):
                continue
            return port


@dataclass
class Shell:
    """Runs commands in ``root``; ``directory`` holds its state and what services print."""

    root: Path
    directory: Path
    master_port: int = field(default_factory=free_port)
    worker_port: int = field(default_factory=lambda: free_port(pair=True))
    second_port: int = field(default_factory=lambda: free_port(pair=True))
    third_port: int = field(default_factory=lambda: free_port(pair=True))
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    job: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        return {
            **kept,
            "PATH": f"{self.root / '.venv' / 'bin'}:{kept['PATH']}",
            "MINISPARK_STATE_DIR": str(self.directory / "state"),
            "MINISPARK_MASTER_PORT": str(self.master_port),
            "WORKER_PORT": str(self.worker_port),
            "COLUMNS": "160",
            "NO_COLOR": "1",
            **self.variables,
        }

    def as_here(self, line: str) -> str:
        """Put free ports in the place of those that a page names, and a job in that of its ID."""
        for named, here in (
            ("127.0.0.1:8080", f"127.0.0.1:{self.master_port}"),
            ("127.0.0.1:10000", f"127.0.0.1:{self.worker_port + 1000}"),
            ("--port 9000", f"--port {self.worker_port}"),
            ("--port 9001", f"--port {self.second_port}"),
            ("=9001", f"={self.second_port}"),
            ("{JOB_ID}", self.job),
        ):
            line = line.replace(named, here)
        return re.sub(r"\bID\b(?!=)", self.job or "ID", line)

    def run(self, line: str, *, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
        """Run a line, which must end with the code; return its standard output."""
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self.as_here(line)],
            cwd=self.root,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert ran.returncode == code, f"{line}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout

    def start(self, line: str, name: str, **environment: str) -> None:
        """Run a line that goes on until it is ended."""
        with self.log(name).open("wb") as log:
            self.running.append(
                subprocess.Popen(
                    ["bash", "-c", self.as_here(line)],
                    cwd=self.root,
                    env=self.environment | environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def wait_for_text(self, name: str, pattern: str) -> None:
        """Wait until a service has printed something."""

        def printed() -> bool:
            return re.search(pattern, self.log(name).read_text()) is not None

        wait_until(printed, self.running, f"{name} prints {pattern}")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.master_port}{path}") as answer:
            return json.load(answer)

    def wait_for_workers(self, count: int) -> None:
        def enough() -> bool:
            try:
                return int(self.get("/api/v1/metrics/system")["workers_up"]) >= count
            except OSError:
                return False

        wait_until(enough, self.running, f"{count} workers are up")

    def end(self) -> None:
        """End all that was started, and what that started. A worker, asked once, only drains."""
        for process in reversed(self.running):
            for numbers in ((signal.SIGTERM, signal.SIGINT), (signal.SIGKILL,)):
                with contextlib.suppress(ProcessLookupError):
                    for number in numbers:
                        os.killpg(process.pid, number)
                if group_ended(process):
                    break


def group_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process and its children have ended, or do so soon."""
    pause = threading.Event()
    for _ in range(100):
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        pause.wait(0.05)
    return False


def wait_until(
    condition: Callable[[], bool], processes: list[subprocess.Popen[bytes]], what: str
) -> None:
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.1)):
        if condition():
            return
        assert all(process.poll() is None for process in processes), f"a service ended: {what}"
        pause.wait(0.1)
    pytest.fail(f"waited in vain: {what}")


def recorder(path: Path, *, fails_at: str) -> None:
    """Write a program that notes how it is called; it fails when it is called in some way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        f'echo "${{COMPOSE_PROJECT_NAME:-}} $*" >> "{path}.calls"\n'
        f'case "$*" in *"{fails_at}"*) exit 7;; esac\n'
    )
    path.chmod(0o755)


def calls_of(path: Path) -> list[str]:
    return path.with_name(f"{path.name}.calls").read_text().splitlines()
