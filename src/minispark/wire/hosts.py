"""Names of hosts: those of this machine alone, and the one in a ``Host`` header.

Apart from the door itself, since what only holds a configuration needs no web framework.
"""

from __future__ import annotations

import re

__all__ = ["LOOPBACK_NAMES", "host_name", "is_loopback"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether an address to bind is reachable from this machine only."""
    return host in LOOPBACK_NAMES or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def host_name(netloc: str) -> str:
    """Return the name in a ``Host`` header, without port, brackets and a trailing dot."""
    name = netloc.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.removesuffix(".")
