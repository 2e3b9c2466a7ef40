"""The master as a process: state directory, port, signals, discovery file.

Covers: start and end. Does not cover: what runs in between (`control.service`, `http.app`).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn

from minispark.blocks.host import disk_identity
from minispark.config import secure_dir
from minispark.discovery import Discovery, advertised
from minispark.errors import MinisparkError, UsageError
from minispark.journal.journal import Journal
from minispark.journal.schema import journal_error
from minispark.logs import configure_logs, logger
from minispark.master.control.service import Service
from minispark.master.http.app import create_app
from minispark.master.recovery.restore import identify
from minispark.master.settings import MasterConfig, check_config
from minispark.settings import LogSettings
from minispark.signals import StopSignals
from minispark.tls import server_tls
from minispark.tokens import Level
from minispark.wire.connection_limits import log_accept_errors, server_options
from minispark.wire.serving import HttpServer, listening_socket, url_of

_JOURNAL = "journal.db"
_KEEP_ALIVE_S = 75
"""Longer than any client keeps an idle connection, so that always the client closes it."""
_GRACE_S = 5
"""How long open downloads may continue after a signal to stop."""

_log = logger("master")


def serve(
    config: MasterConfig,
    *,
    on_ready: Callable[[str, str], None] | None = None,
    logs: LogSettings | None = None,
) -> None:
    """Run a master until SIGTERM or SIGINT.

    ``on_ready(url, link)`` is called when the master listens, with the address for browsers; the
    link logs one in, once.

    Raises
    ------
    UsageError
        The configuration is unsafe, the port is taken, or another master owns the state directory.
    MinisparkError
        The master could not continue; its jobs are in the journal.
    """
    configure_logs(logs)
    asyncio.run(_serve(config, on_ready))


async def _serve(config: MasterConfig, on_ready: Callable[[str, str], None] | None) -> None:
    stopped = asyncio.Event()
    with StopSignals(asyncio.get_running_loop()) as stop:
        stop.listen(stopped.set)
        async with running(config, on_ready) as (_, server):
            signal = asyncio.create_task(stopped.wait())
            await asyncio.wait((server, signal), return_when=asyncio.FIRST_COMPLETED)
            signal.cancel()


@asynccontextmanager
async def running(
    config: MasterConfig, on_ready: Callable[[str, str], None] | None = None
) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """Run a master within the block; yield its URL and a task that ends with it."""
    check_config(config)
    state = secure_dir(config.state_dir)
    hint = "Choose another --port, or stop the process that uses it."
    with (
        _owned(config) as service,
        listening_socket(config.host, config.port, code="MS-109", hint=hint) as sock,
    ):
        with _readable(config):
            await service.start()
        server = HttpServer(_uvicorn_config(config, service))

        def stop() -> None:
            server.should_exit = True
            service.release_polls()

        service.on_broken = stop
        log_accept_errors(asyncio.get_running_loop(), _log)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        url = _url(config, sock)
        try:
            with advertised(_discovery(config, url), state=state, registry=config.discovery_dir):
                _log.info(
                    "master_started",
                    url=url,
                    state_dir=str(state),
                    epoch=service.components.identity.master_epoch,
                )
                if on_ready is not None:
                    shown = config.public_url or url
                    on_ready(shown, shown + service.logins.link(Level.ROOT))
                try:
                    yield url, task
                finally:
                    stop()
                    await asyncio.gather(task, return_exceptions=True)
        finally:
            await service.stop()
            _log.info("master_stopped", url=url)
        if service.broken is not None:
            msg = f"the master had to stop: {service.broken}"
            raise MinisparkError(msg, code="MS-114")


@contextmanager
def _owned(config: MasterConfig) -> Iterator[Service]:
    with _locked(config.state_dir):
        with _readable(config):
            journal = Journal(config.state_dir / _JOURNAL, config.journal)
            if journal.loss is not None:
                _log.error("journal_damaged", what=str(journal.loss))
            new_id, disk = secrets.token_hex(4), disk_identity(config.state_dir)
            identity = identify(journal, new_cluster_id=new_id, disk=disk)
        yield Service(config, journal, identity)


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Own a state directory within the block; the kernel frees the lock of a dead process."""
    lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
            msg = f"another master (process {owner or 'unknown'}) is using {state}"
            hint = "Stop it first, or start this one with another --state-dir."
            raise UsageError(msg, code="MS-108", file=str(state), hint=hint) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


@contextmanager
def _readable(config: MasterConfig) -> Iterator[None]:
    """Turn an error of SQLite within the block into one about the journal."""
    try:
        yield
    except sqlite3.Error as error:
        raise journal_error(error, config.state_dir / _JOURNAL) from error


def _uvicorn_config(config: MasterConfig, service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service),
        **server_options(config.connection_limits),
        **server_tls(config.tls_cert, config.tls_key),
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )


def _discovery(config: MasterConfig, url: str) -> Discovery:
    token_file, ca_file = (
        None if path is None else str(path.absolute())
        for path in (config.token_file, config.tls_cert)
    )
    return Discovery(url, token_file, os.getpid(), ca_file)


def _url(config: MasterConfig, sock: socket.socket) -> str:
    """Return the URL for clients on this machine; for a wildcard that is a loopback address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)  # noqa: S104
    return url_of(host, sock.getsockname()[1], tls=config.tls_cert is not None)
