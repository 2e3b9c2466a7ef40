"""Counts wrong tokens and open requests of peers, and says when a peer has to wait.

A peer is an address (for IPv6 a network, since a host can choose among many addresses). The number
of remembered peers is limited, and no peer can lock out another one: answers to wrong tokens are
delayed, right tokens pass. Only the tokens of a remote peer with very many delayed answers are no
longer checked.

Covers: counting. Does not cover: answering (`minispark.wire.guard`).
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
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
        # An account can choose among sixteen million loopback addresses.
        return _LOOPBACK
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return peer_of((str(address.ipv4_mapped), 0))
        return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
    return str(address)


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """The key by which requests are counted: each level has its own count."""

    peer: str
    level: Level | None
    is_stream: bool = False
    """Whether the request stays open as long as its client wants."""


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_s: float = 0.0
    held: int = 0


class Throttle:
    """The counts of the peers of one server."""

    def __init__(self, settings: ConnectionLimits, now: Callable[[], float] = monotonic_s) -> None:
        self._settings = settings
        self._now = now
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._open: Counter[OpenRequest] = Counter()

    def failed(self, peer: str) -> float:
        """Count a wrong token, and return how long its answer is delayed."""
        settings, now = self._settings, self._now()
        failures = self._failures.pop(peer, None) or _Failures()
        if now - failures.last_s > settings.forget_failures_s:
            failures.count = 0
        failures.count += 1
        failures.last_s = now
        self._failures[peer] = failures
        while len(self._failures) > settings.remembered_peers:
            self._failures.popitem(last=False)
        beyond = failures.count - settings.free_failures
        if beyond <= 0 or failures.held >= settings.held_answers:
            return 0.0
        return min(settings.first_pause_s * 2.0 ** min(beyond - 1, 16), settings.last_pause_s)

    def hold(self, peer: str, by: int) -> None:
        """Count an answer that is delayed (1) or sent (-1)."""
        failures = self._failures.get(peer)
        if failures is not None:
            failures.held = max(failures.held + by, 0)

    def ignores(self, peer: str) -> bool:
        """Whether tokens of a peer are not checked at the moment."""
        failures = self._failures.get(peer)
        if failures is None or peer == _LOOPBACK:
            return False
        return failures.held >= self._settings.held_answers

    def enter(self, request: OpenRequest) -> bool:
        """Count an open request; return False if there are too many of its kind."""
        if self._open[request] >= self._most(request):
            return False
        self._open[request] += 1
        return True

    def leave(self, request: OpenRequest) -> None:
        """Count the end of a request that was counted by `enter`."""
        self._open[request] -= 1
        if not self._open[request]:
            del self._open[request]

    def _most(self, request: OpenRequest) -> int:
        if is_reserved(request.level):
            return self._settings.open_requests
        return self._settings.open_streams if request.is_stream else self._settings.lesser_requests
