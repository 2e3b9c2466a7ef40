"""Whose process listens at an address of this machine.

Every account may listen on loopback, also at the port of a master that is not running just now. A
token from the private files of a user is for processes of that user: before it is sent in clear
text, the kernel is asked who listens. Covers Linux; other systems are not asked.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from minispark.errors import UsageError
from minispark.wire.hosts import is_loopback

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = "0A"
_CONNECTED = "connection.connect_tcp.complete"


def check_listener(url: str, *, tables: tuple[Path, ...] = _TABLES) -> None:
    """Refuse an address of this machine at which another user listens; TLS needs no such look.

    Raises
    ------
    UsageError
        Neither this user nor root listens there.
    """
    found = urlsplit(url)
    if found.scheme != "http" or not is_loopback(found.hostname or ""):
        return
    owners = set(_listeners(found.port or 80, tables))
    if owners - {0, os.geteuid()}:
        raise UsageError(
            f"the server at {url} belongs to another user of this machine: no token was sent to it",
            code="MS-615",
            hint="Is the master running? Give it another --port, or set MINISPARK_TOKEN if its "
            "account is meant to be another.",
        )


def listener_trace(url: str) -> Callable[[str, Mapping[str, Any]], None]:
    """Return what makes an HTTP client look (extension ``trace``) before it sends anything."""

    def trace(event: str, _info: Mapping[str, Any]) -> None:
        if event == _CONNECTED:
            check_listener(url)

    return trace


def async_listener_trace(url: str) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """As `listener_trace`, for an asynchronous client."""

    async def trace(event: str, _info: Mapping[str, Any]) -> None:
        if event == _CONNECTED:
            check_listener(url)

    return trace


def _listeners(port: int, tables: tuple[Path, ...]) -> Iterator[int]:
    """Yield the users that listen at a port of this machine, on whatever address."""
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield int(columns[7])
