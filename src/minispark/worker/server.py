"""A worker process: its sockets, its agent, its end.

It starts in this order: work directory, sockets, executors, registration; it ends in the opposite
order. The first signal (SIGTERM, SIGINT) drains it: it gets no more work, what runs ends, other
workers fetch its blocks. The second one ends it at once: the master gives its attempts to others.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from minispark.blocks.cache import TMPFS, BlockCache, memory_budget, memory_home
from minispark.blocks.fetch import FetchSettings
from minispark.blocks.host import host_identity
from minispark.blocks.memory import read_memory
from minispark.blocks.store import BlockStore
from minispark.errors import UsageError, sentence_of
from minispark.logs import LogBuffer, configure_logs, logger
from minispark.plan.hashing import hash_vector
from minispark.settings import CacheSettings, ConnectionLimits, LogSettings
from minispark.signals import StopSignals
from minispark.tls import check_certificate, server_tls
from minispark.tokens import BlockKey
from minispark.wire.connection_limits import log_accept_errors, server_options
from minispark.wire.guard import App
from minispark.wire.hosts import LOOPBACK_NAMES, check_clear_text, is_loopback
from minispark.wire.http import versions
from minispark.wire.messages import RegisterRequest
from minispark.wire.serving import HttpServer, listening_socket, url_of
from minispark.worker.agent import Agent
from minispark.worker.app import block_app, metrics_app
from minispark.worker.capacity import CapacityGate, read_sizes
from minispark.worker.directory import WorkDirectory
from minispark.worker.executors import ExecutorPool
from minispark.worker.machine_facts import facts_of
from minispark.worker.rpc import MasterRpc
from minispark.worker.settings import WorkerConfig
from minispark.worker.spill import spilling

METRICS_OFFSET = 1000
"""The port of the metrics is the port of the blocks plus this."""
_MAX_PORT = 65_535
_WILDCARD = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound

_log = logger("worker")


def serve(
    config: WorkerConfig,
    *,
    on_ready: Callable[[str], None] | None = None,
    logs: LogSettings | None = None,
) -> None:
    """Run a worker until SIGTERM or SIGINT; call ``on_ready(url)`` when it is registered.

    Raises
    ------
    UsageError
        The master refuses this worker for good, the port is taken, the address is not safe, or
        the certificate is not usable.
    """
    _check_safety(config)
    log = LogBuffer(logs)
    worker = _Worker(config, on_ready, log)
    configure_logs(logs, buffer=log, worker=worker.id)
    asyncio.run(worker.run())


class _Worker:
    def __init__(
        self, config: WorkerConfig, on_ready: Callable[[str], None] | None, log: LogBuffer
    ) -> None:
        self._config = config
        self._on_ready = on_ready
        self._log = log
        self._fetch = FetchSettings(
            may_map=config.map_blocks, key=BlockKey(config.token), ca_file=config.ca_file
        )
        self.id = f"w-{secrets.token_hex(4)}"
        self._url = ""

    async def run(self) -> None:
        config = self._config
        with StopSignals(asyncio.get_running_loop()) as stop, contextlib.ExitStack() as kept:
            # First, since a taken port is the most common reason why a worker cannot start.
            sockets = _bind(config.host, config.port)
            for each in sockets:
                kept.callback(each.close)
            work = WorkDirectory(config.work_dir, self.id)
            kept.callback(work.remove)
            memory = _memory_directory(config.cache, self.id)
            if memory is not None:
                kept.callback(memory.remove)
            try:
                await self._run(work, memory, sockets, stop)
            finally:
                _log.info("worker_stopped")

    async def _run(
        self,
        work: WorkDirectory,
        memory: WorkDirectory | None,
        sockets: tuple[socket.socket, socket.socket],
        stop: StopSignals,
    ) -> None:
        config = self._config
        block_socket, metrics_socket = sockets
        name = config.advertise_host or _reachable_name(config)
        tls = config.tls_cert is not None
        self._url = url_of(name, block_socket.getsockname()[1], tls=tls)
        store = BlockStore(work.blocks)
        executors = ExecutorPool(
            config.slots,
            threads_per_slot=config.threads_per_slot,
            fetch=self._fetch,
            task_timeout_s=config.task_timeout_s,
            memory_limit_bytes=config.memory_limit_bytes,
            spilling=spilling(
                work.path / "spill",
                slots=config.slots,
                memory_limit_bytes=config.memory_limit_bytes,
                memory=read_memory(),
            ),
        )
        agent = self._agent(store, executors, _cache(config.cache, store, memory))
        allowed = {*config.allowed_hosts, config.host, name, *LOOPBACK_NAMES} - _WILDCARD
        blocks = block_app(
            store,
            token=config.token,
            hosts=allowed,
            on_served=agent.worker_metrics.served,
            worker_id=self.id,
            log=self._log,
        )
        metrics = metrics_app(
            agent.metrics,
            worker_id=self.id,
            slots=config.slots,
            token=config.token,
            hosts=allowed,
            open_figures=config.figures_open,
        )
        _log.info(
            "worker_started",
            url=self._url,
            metrics_url=url_of(name, metrics_socket.getsockname()[1], tls=tls),
            work_dir=str(work.path),
        )
        apps = ((blocks, block_socket), (metrics, metrics_socket))
        async with _listening(apps, server_tls(config.tls_cert, config.tls_key)):
            await _until_signal(agent, executors, stop)

    def _agent(self, store: BlockStore, executors: ExecutorPool, cache: BlockCache | None) -> Agent:
        config = self._config
        return Agent(
            config,
            rpc=MasterRpc(
                config.master_url,
                config.token,
                self.id,
                ca_file=config.ca_file,
                own_token=config.own_token,
            ),
            executors=executors,
            store=store,
            fetch=self._fetch,
            capacity=CapacityGate(
                lambda: read_sizes(store, executors.memory_bytes),
                disk_limit_bytes=config.disk_limit_bytes,
                memory_limit_bytes=config.memory_limit_bytes,
            ),
            register=RegisterRequest(
                worker_id=self.id,
                url=self._url,
                host=host_identity(),
                directory=str(store.directory),
                slots=config.slots,
                versions=versions(),
                hashes=hash_vector(),
                facts=facts_of(config, store, cache),
            ),
            on_registered=self._ready_once,
            cache=cache,
        )

    def _ready_once(self) -> None:
        if self._on_ready is not None:
            self._on_ready(self._url)
            self._on_ready = None


def _memory_directory(settings: CacheSettings, name: str) -> WorkDirectory | None:
    """Make the directory of the cache in memory; None without a tmpfs or a budget."""
    if not memory_budget(TMPFS, settings.memory_bytes):
        return None
    try:
        return WorkDirectory(memory_home(), name)
    except (OSError, UsageError) as error:
        # Another user may have made a directory of this name.
        _log.warning("cache_without_memory", reason=sentence_of(error))
        return None


def _cache(
    settings: CacheSettings, store: BlockStore, memory: WorkDirectory | None
) -> BlockCache | None:
    if not settings.memory_bytes:
        return None
    budget = memory_budget(TMPFS, settings.memory_bytes)
    if budget < settings.memory_bytes:
        _log.warning(
            "cache_memory_reduced", wanted=settings.memory_bytes, got=budget, tmpfs=str(TMPFS)
        )
    return BlockCache(
        store.directory,
        memory=None if memory is None else memory.blocks,
        settings=replace(settings, memory_bytes=budget),
    )


async def _until_signal(agent: Agent, executors: ExecutorPool, stop: StopSignals) -> None:
    """Run the agent until it may leave, a second signal arrives, or it fails."""

    async def start_and_run() -> None:
        await executors.start()
        await agent.run()

    draining = False

    def on_signal() -> None:
        nonlocal draining
        if draining or not agent.drain():
            serving.cancel()
            return
        draining = True
        _log.info("draining", hint="a second signal ends the worker at once")

    serving = asyncio.create_task(start_and_run())
    stop.listen(on_signal)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    except BaseExceptionGroup as group:
        # The loops of an epoch run side by side; the user needs one reason only.
        raise _first(group) from group
    finally:
        await agent.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


@contextlib.asynccontextmanager
async def _listening(
    apps: Sequence[tuple[App, socket.socket]], tls: Mapping[str, Any]
) -> AsyncIterator[None]:
    options = server_options(ConnectionLimits(), servers=len(apps))
    servers, tasks = [], []
    log_accept_errors(asyncio.get_running_loop(), _log)
    for app, bound in apps:
        # Peers keep their connections; closing an idle one costs them a retry.
        config = uvicorn.Config(
            app, **options, **tls, timeout_keep_alive=60, timeout_graceful_shutdown=1
        )
        servers.append(HttpServer(config))
        tasks.append(asyncio.create_task(servers[-1].serve(sockets=[bound])))
    try:
        yield
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Bind the ports of blocks and metrics; with port 0 both are any free ports."""
    hint = f"Choose another with --port. A worker uses two: --port, and that plus {METRICS_OFFSET}."
    listen = partial(listening_socket, host, code="MS-156", hint=hint)
    if port + METRICS_OFFSET > _MAX_PORT:
        msg = f"a worker cannot use port {port}: the port of its metrics would be "
        msg += f"{port + METRICS_OFFSET}, and the largest is {_MAX_PORT}"
        raise UsageError(msg, code="MS-156", hint=hint)
    block_socket = listen(port)
    try:
        return block_socket, listen(port + METRICS_OFFSET if port else 0)
    except UsageError as error:
        block_socket.close()
        msg = f"{error.info.message} (for the metrics of a worker with --port {port})"
        raise UsageError(msg, code="MS-156", hint=hint) from error


def _check_safety(config: WorkerConfig) -> None:
    check_certificate(config.tls_cert, config.tls_key)
    check_clear_text(config.master_url, allowed=config.insecure)
    if is_loopback(config.host) or config.insecure or config.tls_cert is not None:
        return
    msg = f"on {config.host} all data would be sent unencrypted"
    hint = "Give --tls-cert and --tls-key, or --insecure if you trust the network."
    raise UsageError(msg, code="MS-107", hint=hint)


def _reachable_name(config: WorkerConfig) -> str:
    """Return the address under which the master reaches this machine."""
    if config.host not in _WILDCARD:
        return config.host
    master = urlsplit(config.master_url)
    address = (master.hostname or "127.0.0.1", master.port or 80)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only chooses the route.
            probe.connect(address)
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
