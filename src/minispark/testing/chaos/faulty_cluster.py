"""A local cluster with faults: real processes, real signals, a network to cut.

::

    worker  --> proxy --> master         requests of the worker
    reader  --> proxy --> worker         blocks; 127.0.0.2:P leads to 127.0.0.1:P

A timer or `heal` repairs every fault: a killed process starts again, a stopped one continues, a cut
network is whole again.
"""

from __future__ import annotations

import random
import signal
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never
from urllib.parse import urlsplit

import psutil

from minispark.blocks.cache import CACHE_PREFIX
from minispark.blocks.meta import DATA_SUFFIX
from minispark.client.local_cluster import ClusterProcess, LocalCluster
from minispark.clock import monotonic_s
from minispark.ids import TaskKey
from minispark.testing.chaos.faults import Fault, FaultStep
from minispark.testing.chaos.tcp_proxy import TcpProxy

_HERE, _BLOCKS = "127.0.0.1", "127.0.0.2"
_DOWN_S = 1.5
"""Silence after which a worker is DOWN: short, since tests wait for it."""
_HEARTBEAT_S = 0.2
_BEYOND_DOWN_S = 0.7
_METRICS_OFFSET = 1_000
_PORTS = range(20_000, 30_000)
"""Below the ports that the system assigns."""
_READY_S = 90.0
_POLL_S = 0.02


@dataclass(slots=True)
class _Worker:
    process: ClusterProcess
    to_master: TcpProxy
    to_blocks: TcpProxy
    leaving: bool = False
    """The worker is draining; another one replaces it."""

    def close(self) -> None:
        self.to_master.close()
        self.to_blocks.close()


class FaultyCluster:
    """A cluster that lasts for a ``with`` block; `carry_out` is for one thread.

    Parameters
    ----------
    workers
        Number of workers; fewer for a while after one died.
    maps
        Whether blocks are mapped, or all fetched over the network.
    directory
        Directory for state, blocks and logs.
    """

    def __init__(
        self, directory: Path, *, workers: int = 3, threads: int = 1, maps: bool = False
    ) -> None:
        self.directory = directory
        self._count = workers
        self._cluster = LocalCluster(
            0,
            threads=threads,
            directory=directory,
            master_options=["--heartbeat-timeout", str(_DOWN_S)],
            worker_options=[
                *("--heartbeat", str(_HEARTBEAT_S), "--advertise-host", _BLOCKS),
                "--map-blocks" if maps else "--no-map-blocks",
            ],
        )
        self._workers: list[_Worker] = []
        self._lock = threading.RLock()
        self._repairs: dict[threading.Timer, Callable[[], object]] = {}
        self._processes: dict[int, psutil.Process] = {}
        self._ports: set[tuple[str, int]] = set()

    def __enter__(self) -> FaultyCluster:
        self._cluster.start()
        try:
            for _ in range(self._count):
                self._add_worker()
            self.wait_until_whole()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL of the master."""
        return self._cluster.url

    @property
    def token(self) -> str:
        """The secret of the cluster."""
        return self._cluster.token

    def logs(self) -> dict[str, str]:
        """The log of each process."""
        return self._cluster.logs()

    def wait_until_whole(self) -> None:
        """Repair all faults and wait until all workers are UP; replace workers that ended.

        Raises
        ------
        TimeoutError
            The workers are not UP in time.
        """
        self.heal()
        pause, end = threading.Event(), monotonic_s() + _READY_S
        while monotonic_s() < end:
            for worker in [worker for worker in self._workers if not worker.process.alive]:
                self._remove(worker)
                if not worker.leaving:
                    self._add_worker()
            up = [w for w in self._cluster.client.workers() if w["status"] == "UP"]
            if len(up) >= self._count:
                self._note_resources()
                return
            pause.wait(_POLL_S)
        msg = f"{self._count} workers did not come up within {_READY_S:g} s"
        raise TimeoutError(msg)

    def carry_out(
        self, step: FaultStep, *, job: str = "", spared: Collection[int] = ()
    ) -> str | None:
        """Inject a fault; return its description, None if there is no target now.

        Blocks of ``job`` of the stages ``spared`` are not damaged: nothing recomputes a result
        that is damaged after its delivery. Cached blocks may be damaged at any time.
        """
        with self._lock:
            self._note_resources()
            match step.fault:
                case Fault.KILL_MASTER | Fault.STOP_MASTER:
                    return self._strike_master(step)
                case Fault.DELETE_BLOCK | Fault.CORRUPT_BLOCK:
                    return self._strike_block(step, job, spared)
                case _:
                    return self._strike_worker(step)

    def heal(self) -> None:
        """Repair all faults now."""
        with self._lock:
            for timer, repair in list(self._repairs.items()):
                timer.cancel()
                if self._repairs.pop(timer, None) is not None:
                    repair()

    def close(self) -> None:
        """End all processes and proxies; the directory stays."""
        with self._lock:
            for timer in self._repairs:
                timer.cancel()
            self._repairs.clear()
            for worker in self._workers:
                worker.to_master.heal()
                worker.to_blocks.heal()
            try:
                self._note_resources()
            finally:
                self._cluster.close()
                for worker in self._workers:
                    worker.close()
                self._workers.clear()

    def leftovers(self) -> list[str]:
        """Return the processes, ports and files that `close` should have removed."""
        left = [f"process {p.pid} {_cmdline(p)}" for p in self._processes.values() if _lives(p)]
        left += [f"process {p.pid} {_cmdline(p)}" for p in _processes_of(self.directory)]
        left += [f"port {host}:{port}" for host, port in sorted(self._ports) if _open(host, port)]
        work = self.directory / "work"
        left += [f"file {path}" for path in sorted(work.rglob("*")) if path.is_file()]
        return left

    # Faults.

    def _strike_master(self, step: FaultStep) -> str | None:
        master = self._cluster.master
        if master is None or not master.alive:
            return None
        if step.fault is Fault.STOP_MASTER:
            master.signal(signal.SIGSTOP)
            self._later(step.lasts_s, lambda: master.signal(signal.SIGCONT))
            return f"SIGSTOP of the master (pid {master.pid}) for {step.lasts_s:.1f} s"
        # Killed before its repair is scheduled: the repair starts a new one.
        master.kill()
        self._later(step.lasts_s, self._cluster.restart_master)
        return f"kill -9 of the master (pid {master.pid}), back after {step.lasts_s:.1f} s"

    def _strike_worker(self, step: FaultStep) -> str | None:
        living = [w for w in self._workers if w.process.alive and not w.leaving]
        if len(living) < 2:
            return None
        worker = living[step.victim % len(living)]
        name, pid = worker.process.name, worker.process.pid
        lasts_s = step.lasts_s
        match step.fault:
            case Fault.KILL_WORKER:
                worker.process.kill()
                self._later(lasts_s, lambda: self._replace(worker))
                return f"kill -9 of {name} (pid {pid}), another after {lasts_s:.1f} s"
            case Fault.RESTART_WORKER:
                worker.process = self._cluster.restart_worker(worker.process)
                return f"kill -9 of {name} (pid {pid}), started again on its port"
            case Fault.DRAIN_WORKER:
                worker.leaving = True
                worker.process.signal(signal.SIGTERM)
                self._later(lasts_s, self._add_worker)
                return f"SIGTERM to {name} (pid {pid}), another after {lasts_s:.1f} s"
            case Fault.STOP_WORKER | Fault.ZOMBIE_WORKER:
                if step.fault is Fault.ZOMBIE_WORKER:
                    lasts_s = _DOWN_S + _BEYOND_DOWN_S
                worker.process.signal(signal.SIGSTOP)
                self._later(lasts_s, lambda: worker.process.signal(signal.SIGCONT))
                return f"SIGSTOP of {name} (pid {pid}) for {lasts_s:.1f} s"
            case Fault.KILL_EXECUTOR:
                return _strike_executor(worker, signal.SIGKILL, step.chance)
            case Fault.SEGFAULT_EXECUTOR:
                return _strike_executor(worker, signal.SIGSEGV, step.chance)
            case Fault.CUT_WORKER | Fault.CUT_BLOCKS | Fault.CUT_ALL:
                return self._cut(worker, step)
            case Fault.KILL_MASTER | Fault.STOP_MASTER | Fault.DELETE_BLOCK | Fault.CORRUPT_BLOCK:
                msg = f"{step.fault} is not for workers"
                raise ValueError(msg)
            case _:
                assert_never(step.fault)

    def _cut(self, worker: _Worker, step: FaultStep) -> str:
        proxies, peer, lasts_s = [worker.to_master, worker.to_blocks], "", step.lasts_s
        if step.fault is Fault.CUT_WORKER:
            proxies, peer = [worker.to_master], " from the master"
        elif step.fault is Fault.CUT_BLOCKS:
            proxies, peer = [worker.to_blocks], " from its readers"
        else:
            lasts_s = _DOWN_S + _BEYOND_DOWN_S
        refuse = bool(step.chance & 1)
        for proxy in proxies:
            proxy.cut(refuse=refuse)

        def heal() -> None:
            for proxy in proxies:
                proxy.heal()

        self._later(lasts_s, heal)
        how = "refusing" if refuse else "swallowing"
        return f"network cut off {worker.process.name}{peer} for {lasts_s:.1f} s ({how})"

    def _strike_block(self, step: FaultStep, job: str, spared: Collection[int]) -> str | None:
        blocks = sorted(self.directory.glob(f"work/*/blocks/{job}.*{DATA_SUFFIX}"))
        blocks = [path for path in blocks if TaskKey.parse(path.stem).stage not in spared]
        blocks += sorted(self.directory.glob(f"work/*/blocks/{CACHE_PREFIX}*{DATA_SUFFIX}"))
        if not blocks:
            return None
        path = blocks[step.victim % len(blocks)]
        try:
            if step.fault is Fault.DELETE_BLOCK:
                path.unlink()
                return f"deleted {path.name}"
            data = bytearray(path.read_bytes())
        except FileNotFoundError:
            return None
        offset = step.chance % len(data)
        data[offset] ^= 0xFF
        # Replaced and not overwritten: a block that a task has checked and mapped cannot change.
        staged = path.with_suffix(".changed")
        staged.write_bytes(data)
        staged.replace(path)
        return f"changed byte {offset} of {path.name}"

    def _later(self, after_s: float, repair: Callable[[], object]) -> None:
        def run() -> None:
            with self._lock:
                if self._repairs.pop(timer, None) is not None:
                    repair()

        timer = threading.Timer(after_s, run)
        timer.daemon = True
        self._repairs[timer] = repair
        timer.start()

    # Workers.

    def _add_worker(self) -> None:
        master = urlsplit(self._cluster.url)
        to_master = TcpProxy((_HERE, 0), (_HERE, master.port or 0))
        port, to_blocks = _proxy_to_worker()
        url = f"http://{to_master.address[0]}:{to_master.address[1]}"
        process = self._cluster.add_worker(port=port, master_url=url)
        self._workers.append(_Worker(process, to_master, to_blocks))

    def _replace(self, worker: _Worker) -> None:
        self._remove(worker)
        self._add_worker()

    def _remove(self, worker: _Worker) -> None:
        self._cluster.workers.remove(worker.process)
        self._workers.remove(worker)
        worker.close()

    def _note_resources(self) -> None:
        """Note all processes and ports, for `leftovers`."""
        members = [worker.process for worker in self._workers]
        if self._cluster.master is not None:
            members.append(self._cluster.master)
        for worker in self._workers:
            self._ports |= {worker.to_master.address, worker.to_blocks.address}
        for member in members:
            try:
                process = psutil.Process(member.pid)
                tree = [process, *process.children(recursive=True)]
                connections = process.net_connections("tcp")
            except psutil.Error:
                continue
            self._processes |= {process.pid: process for process in tree}
            listening = [each.laddr for each in connections if each.status == "LISTEN"]
            self._ports |= {(address.ip, address.port) for address in listening}


def _proxy_to_worker() -> tuple[int, TcpProxy]:
    """Open a proxy on a port that is also free at the worker's address; return both."""
    for port in random.sample(_PORTS, len(_PORTS)):
        try:
            for number in (port, port + _METRICS_OFFSET):
                socket.create_server((_HERE, number)).close()
            return port, TcpProxy((_BLOCKS, port), (_HERE, port))
        except OSError:
            continue
    msg = "no port is free"
    raise OSError(msg)


def _strike_executor(worker: _Worker, number: signal.Signals, chance: int) -> str | None:
    try:
        executors = psutil.Process(worker.process.pid).children()
        if not executors:
            return None
        executor = executors[chance % len(executors)]
        executor.send_signal(number)
    except psutil.NoSuchProcess:
        return None
    return f"{number.name} to an executor of {worker.process.name} (pid {executor.pid})"


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _processes_of(directory: Path) -> list[psutil.Process]:
    """Return the processes of a cluster, with executors, by their environment."""
    state = str(directory / "state")
    processes = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MINISPARK_STATE_DIR") == state and _lives(process):
                processes.append(process)
        except psutil.Error:
            continue
    return processes


def _cmdline(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "?"


def _open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0
