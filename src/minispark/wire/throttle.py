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
from minispark.settings import DoorSettings

__all__ = ["Throttle", "peer_of"]

_NETWORK_BITS = 64


def peer_of(client: object) -> str:
    """Return the name under which a client's address is counted."""
    host = str(client[0]) if isinstance(client, tuple | list) and client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if not address.is_loopback:
            return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
    return str(address)


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_s: float = 0.0
    held: int = 0


class Throttle:
    """Counts what the peers of one server do."""

    def __init__(self, settings: DoorSettings, now: Callable[[], float] = monotonic_s) -> None:
        self._settings = settings
        self._now = now
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._open: dict[str, int] = {}

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
        if found is None or _is_loopback(peer):
            return False
        return found.held >= self._settings.held_answers

    def enter(self, peer: str) -> bool:
        """Count an open request; False where the peer has as many as it may."""
        count = self._open.get(peer, 0)
        if count >= self._settings.open_requests:
            return False
        self._open[peer] = count + 1
        return True

    def leave(self, peer: str) -> None:
        """Count the end of a request that entered."""
        count = self._open[peer] - 1
        if count:
            self._open[peer] = count
        else:
            del self._open[peer]
