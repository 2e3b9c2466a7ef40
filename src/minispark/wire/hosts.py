"""Hosts and addresses: which are of this machine, and whose process listens there.

Every account may listen on loopback, also at the port of a master that is stopped. A token from the
private files of a user is only for processes of that user: before it is sent in clear text, the
kernel is asked which user listens. Covers Linux; other systems are not asked.

This module imports no web framework, since configurations use it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from minispark.errors import UsageError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"
_CONNECTED = "connection.connect_tcp.complete"


def is_loopback(host: str) -> bool:
    """Whether an address to bind can be reached from this machine only."""
    return host in LOOPBACK_NAMES or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def host_name(netloc: str) -> str:
    """Return the name in a ``Host`` header, without port, brackets and a trailing dot."""
    name = netloc.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.removesuffix(".")


def check_clear_text(url: str, *, allowed: bool) -> None:
    """Refuse to send a token where others could read it on the network.

    Raises
    ------
    UsageError
        The URL leads to another machine in clear text, which is not ``allowed``.
    """
    address = urlsplit(url)
    if allowed or address.scheme != "http" or is_loopback((address.hostname or "").rstrip(".")):
        return
    msg = f"the token and all data would be sent to {url} unencrypted"
    hint = (
        "Start the master with --tls-cert and --tls-key and call it by https, or set "
        "MINISPARK_INSECURE=1 (a worker: --insecure) if you trust the network."
    )
    raise UsageError(msg, code="MS-107", hint=hint)


def check_listener(url: str, *, tables: tuple[Path, ...] = _TABLES) -> None:
    """Refuse an address of this machine where another user listens, unless it speaks TLS.

    Raises
    ------
    UsageError
        A user listens there that is neither this user nor root.
    """
    address = urlsplit(url)
    if address.scheme != "http" or not is_loopback(address.hostname or ""):
        return
    owners = set(_listeners(address.port or 80, tables))
    if owners - {0, os.geteuid()}:
        raise UsageError(
            f"the server at {url} belongs to another user of this machine: no token was sent to it",
            code="MS-615",
            hint="Is the master running? Give it another --port, or set MINISPARK_TOKEN if its "
            "account is meant to be another.",
        )


def listener_trace(url: str) -> Callable[[str, Mapping[str, Any]], None]:
    """Return a ``trace`` extension of an HTTP client that runs `check_listener` before sending."""

    def trace(event: str, _info: Mapping[str, Any]) -> None:
        if event == _CONNECTED:
            check_listener(url)

    return trace


def async_listener_trace(url: str) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """Return the same as `listener_trace`, for an asynchronous client."""
    check = listener_trace(url)

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        check(event, info)

    return trace


def _listeners(port: int, tables: tuple[Path, ...]) -> Iterator[int]:
    """Yield the users that listen at a port of this machine, on any address."""
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield int(columns[7])
