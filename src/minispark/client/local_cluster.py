"""A real cluster on this machine: a master and workers as processes, private to their owner.

::

    <directory>/              0700, removed at the end if we created it
      state/                  the master's state, token, discovery file
      work/                   the workers' blocks
      master.log worker-0.log ...

Used by ``minispark demo`` and by tests that kill processes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from minispark import config, discovery
from minispark.blocks.cache import memory_home
from minispark.clock import monotonic_s
from minispark.engines.http import MasterClient
from minispark.errors import MasterUnreachableError, MinisparkError
from minispark.worker.directory import sweep

_POLL_S = 0.05
"""More frequent requests would slow the start of the processes down."""
_STOP_S = 10.0
"""A process that has not ended this long after SIGTERM is killed."""
_LOG_LINES = 20
_FOREIGN = ("MINISPARK_", "WORKER_", "MASTER_", "CACHE_")
"""Prefixes of variables that configure the user's own cluster, and must not reach this one."""


@dataclass(frozen=True, slots=True)
class ClusterProcess:
    """A master or worker process, and its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    arguments: tuple[str, ...] = ()
    """Its command line."""

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def stop(self, timeout_s: float = _STOP_S) -> None:
        """Send SIGTERM and wait; kill the process if it does not end."""
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the process, as a crash would."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: int) -> None:
        """Send a signal; a process that has ended ignores it."""
        self.process.send_signal(number)

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


class LocalCluster:
    """A cluster that lasts for a ``with`` block, or from `start` to `close`; it uses free ports.

    Parameters
    ----------
    workers
        Number of workers at the start; `add_worker` starts more.
    threads
        Tasks at a time of each worker.
    directory
        Directory for state, blocks and logs; None creates a private one.
    data_root
        The directory of relative paths in jobs.
    worker_options, master_options
        More command-line options, such as ``["--task-timeout", "5"]``.
    start_timeout_s
        How long the processes may take to start; long enough for a busy machine. A process that
        ends early is an error at once.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        threads: int = 1,
        directory: Path | None = None,
        data_root: Path | None = None,
        worker_options: Sequence[str] = (),
        master_options: Sequence[str] = (),
        start_timeout_s: float = 120.0,
    ) -> None:
        self.token = secrets.token_urlsafe(32)
        self.url = ""
        self.master: ClusterProcess | None = None
        self.workers: list[ClusterProcess] = []
        self._count = workers
        self._threads = threads
        self._own_directory = directory is None
        self._root: tuple[str, ...] = () if data_root is None else ("--data-root", str(data_root))
        self._worker_options = tuple(worker_options)
        self._master_options = tuple(master_options)
        self._timeout_s = start_timeout_s
        self._client: MasterClient | None = None
        self._started = 0
        self.directory = directory or Path()

    def __enter__(self) -> LocalCluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def client(self) -> MasterClient:
        """A client of this cluster, for one thread at a time."""
        if self._client is None:
            self._client = MasterClient(self.url, token=self.token)
        return self._client

    def start(self) -> LocalCluster:
        """Start all processes and wait until every worker is registered."""
        if self._own_directory:
            self.directory = Path(tempfile.mkdtemp(prefix="minispark-cluster-"))
        config.secure_dir(self.directory)
        try:
            self.start_master()
            for _ in range(self._count):
                self.add_worker()
            self.wait_for_workers(self._count)
        except BaseException:
            self.close()
            raise
        return self

    def start_master(self, *, port: int = 0) -> ClusterProcess:
        """Start a master on the state directory and wait until it listens.

        After a crash, ``port`` gives the new master the address that the workers know.
        """
        state = self.directory / "state"
        options = ("--port", str(port), "--state-dir", str(state), *self._root)
        master = self._spawn("master", "master", *options, *self._master_options)
        self.master = master

        def listening() -> bool:
            found = discovery.find_discovery(state)
            # A killed master leaves its file, without the lock.
            self.url = found.url if found is not None and found.running else ""
            return self.url != ""

        self._wait_until(listening, (master,))
        return master

    def restart_master(self) -> ClusterProcess:
        """Kill the master if it runs, and start it again on its port and its state."""
        if self.master is not None:
            self.master.kill()
        return self.start_master(port=urlsplit(self.url).port or 0)

    def add_worker(
        self, *, port: int = 0, master_url: str | None = None, options: Sequence[str] = ()
    ) -> ClusterProcess:
        """Start one more worker; `wait_for_workers` waits for its registration.

        ``master_url`` is the address of a proxy before the master.
        """
        worker = self._spawn(
            f"worker-{self._started}",
            "worker",
            *("--master", master_url or self.url, "--port", str(port)),
            *("--threads", str(self._threads)),
            *("--work-dir", str(self.directory / "work"), *self._root),
            *self._worker_options,
            *options,
        )
        self._started += 1
        self.workers.append(worker)
        return worker

    def restart_worker(self, worker: ClusterProcess) -> ClusterProcess:
        """Kill a worker of this cluster if it runs, and start it again with the same arguments."""
        worker.kill()
        successor = self._spawn(worker.name, *worker.arguments)
        self.workers[self.workers.index(worker)] = successor
        return successor

    def wait_for_workers(self, count: int) -> None:
        """Wait until ``count`` workers are UP."""

        def enough() -> bool:
            with contextlib.suppress(MasterUnreachableError):
                up = [worker for worker in self.client.workers() if worker["status"] == "UP"]
                return len(up) >= count
            return False

        self._wait_until(enough, self.workers)

    def logs(self) -> dict[str, str]:
        """Return the log of each process, by name."""
        files = sorted(self.directory.glob("*.log"))
        return {file.stem: file.read_text(errors="replace") for file in files}

    def close(self) -> None:
        """End all processes; remove the directory if we created it."""
        if self._client is not None:
            self._client.close()
            self._client = None
        running = [*self.workers, *([self.master] if self.master is not None else [])]
        for process in running:
            process.signal(signal.SIGTERM)
            # A worker would first hand over its blocks; the second signal stops that.
            process.signal(signal.SIGINT)
            # A stopped process does not get signals.
            process.signal(signal.SIGCONT)
        for process in running:
            process.stop()
        self.workers, self.master = [], None
        # Blocks in memory of killed workers would stay until another worker starts.
        sweep(memory_home())
        if self._own_directory and self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)

    def _spawn(self, name: str, *arguments: str) -> ClusterProcess:
        own = {
            "MINISPARK_STATE_DIR": str(self.directory / "state"),
            "MINISPARK_TOKEN": self.token,
            "NO_COLOR": "1",
        }
        user = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        log = self.directory / f"{name}.log"
        log.touch(mode=0o600)
        with log.open("ab") as file:
            process = subprocess.Popen(  # noqa: S603 - this very Python, our own command
                [sys.executable, "-m", "minispark", *arguments],
                env={**user, **own},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        return ClusterProcess(name, process, log, arguments)

    def _wait_until(
        self, condition: Callable[[], bool], processes: Sequence[ClusterProcess]
    ) -> None:
        deadline = monotonic_s() + self._timeout_s
        pause = threading.Event()
        while not condition():
            ended = next((process for process in processes if not process.alive), None)
            if ended is not None:
                msg = f"{ended.name} ended while it started"
                raise MinisparkError(msg, detail=ended.log_tail())
            if monotonic_s() > deadline:
                names = ", ".join(process.name for process in processes) or "workers"
                msg = f"{names} were not ready within {self._timeout_s:g} s"
                detail = processes[-1].log_tail() if processes else None
                raise MinisparkError(msg, detail=detail)
            pause.wait(_POLL_S)
