"""How often a peer may be wrong, and how much it may have open, before it has to wait.

A peer is an address (of IPv6 the network, since a host has as many addresses as it likes). What
is remembered is bounded, and nothing that one peer does keeps another out: the answer to a wrong
token is held back, the right one passes. Only a remote peer that has very many answers waiting is
not looked at any more.

Covers: counting. Does not cover: answering (`minispark.wire.guard`).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from minispark.clock import monotonic_s
from minispark.settings import ConnectionLimits
from minispark.tokens import Level
from minispark.wire.open_connections import is_reserved

_NETWORK_BITS = 64
_LOOPBACK = "127.0.0.1"


def peer_of(client: object) -> str:
    """Return the name under which a client's address is counted."""
    host = str(client[0]) if isinstance(client, tuple | list) and client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.is_loopback:
        # Any account can choose among sixteen million of them.
        return _LOOPBACK
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return peer_of((str(address.ipv4_mapped), 0))
        return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
    return str(address)


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What requests are counted by: those of one level are not counted against another."""

    peer: str
    level: Level | None
    is_stream: bool = False
    """Whether it stays open for as long as the client likes."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_s: float = 0.0
    held: int = 0


class Throttle:
    """Counts what the peers of one server do."""

    def __init__(self, settings: ConnectionLimits, now: Callable[[], float] = monotonic_s) -> None:
        self._settings = settings
        self._now = now
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._open: dict[OpenRequest, int] = {}

    def failed(self, peer: str) -> float:
        """Note a wrong token; return for how long its answer is held back."""
        settings, now = self._settings, self._now()
        found = self._failures.pop(peer, None) or _Failures()
        if now - found.last_s > settings.forget_failures_s:
            found.count = 0
        found.count += 1
        found.last_s = now
        self._failures[peer] = found
        while len(self._failures) > settings.remembered_peers:
            self._failures.popitem(last=False)
        beyond = found.count - settings.free_failures
        if beyond <= 0 or found.held >= settings.held_answers:
            return 0.0
        return min(settings.first_pause_s * 2.0 ** min(beyond - 1, 16), settings.last_pause_s)

    def hold(self, peer: str, by: int) -> None:
        """Count an answer that is held back (1), or let go (-1)."""
        found = self._failures.get(peer)
        if found is not None:
            found.held = max(found.held + by, 0)

    def ignores(self, peer: str) -> bool:
        """Whether tokens of a peer are not looked at for now."""
        found = self._failures.get(peer)
        if found is None or peer == _LOOPBACK:
            return False
        return found.held >= self._settings.held_answers

    def enter(self, request: OpenRequest) -> bool:
        """Count an open request; False where there are as many of its kind as there may be."""
        count = self._open.get(request, 0)
        if count >= self._most(request):
            return False
        self._open[request] = count + 1
        return True

    def leave(self, request: OpenRequest) -> None:
        """Count the end of a request that entered."""
        count = self._open[request] - 1
        if count:
            self._open[request] = count
        else:
            del self._open[request]

    def _most(self, request: OpenRequest) -> int:
        if is_reserved(request.level):
            return self._settings.open_requests
        return self._settings.open_streams if request.is_stream else self._settings.lesser_requests
