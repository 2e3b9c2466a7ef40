"""Names of hosts: those of this machine alone, and the one in a ``Host`` header.

Apart from the door itself, since what only holds a configuration needs no web framework.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from minispark.errors import UsageError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether an address to bind is reachable from this machine only."""
    return host in LOOPBACK_NAMES or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def check_clear_text(url: str, *, allowed: bool) -> None:
    """Refuse to send a token where others could read it on its way.

    Raises
    ------
    UsageError
        The URL leads beyond this machine in clear text, and nobody has ``allowed`` that.
    """
    found = urlsplit(url)
    if allowed or found.scheme != "http" or is_loopback((found.hostname or "").rstrip(".")):
        return
    msg = f"the token and all data would travel to {url} in clear text"
    hint = (
        "Start the master with --tls-cert and --tls-key and call it by https, or set "
        "MINISPARK_INSECURE=1 (a worker: --insecure) if the network is yours alone."
    )
    raise UsageError(msg, code="MS-107", hint=hint)


def host_name(netloc: str) -> str:
    """Return the name in a ``Host`` header, without port, brackets and a trailing dot."""
    name = netloc.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return name.removesuffix(".")
