"""The connections of one server, and the choice of the one to close for a new one.

A server does not know the level of a connection before its first request has sent a token. So a new
connection is accepted as long as another can be closed: an idle one without a token, or else an
idle one of a view or submit token. These tokens never have all connections: some are reserved for
workers and for the shared secret.

Covers: counting and choosing. Does not cover: requests (`minispark.wire.throttle`), closing.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterable
from typing import Protocol, TypeVar

from minispark.settings import ConnectionLimits
from minispark.tokens import Level

_OWN_FILES = 40
"""Files of a process besides connections: its journal, pipes to children, files that it reads."""
_LEAST = 8
_MOST = 16_384
_RANKS: dict[Level | None, int] = {None: 0, Level.VIEW: 1, Level.SUBMIT: 2}


class Connection(Protocol):
    """What the choice needs of a connection."""

    peer: str
    number: int
    """Increases with each new connection."""
    level: Level | None
    """The level of the token of its last request; None without one."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        ...


C = TypeVar("C", bound=Connection)


def is_reserved(level: Level | None) -> bool:
    """Whether connections are reserved for a level: the cluster stops without its workers."""
    return level in (Level.WORKER, Level.ROOT)


def capacity(servers: int = 1) -> int:
    """Return how many connections a server may have; ``servers`` of them share a process."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = _MOST
    available = files - max(_OWN_FILES, files // 8)
    return max(_LEAST, min(available, _MOST) // servers)


def to_close(connections: Iterable[C], new: C, limits: ConnectionLimits, most: int) -> C | None:
    """Return the connection to close because of a new one, None if there is room for all.

    ``connections`` include the new one, which is returned if no other can be closed.
    """
    everyone = list(connections)
    counts = Counter(connection.peer for connection in everyone)
    if counts[new.peer] > limits.connections:
        candidates = _idle((c for c in everyone if c.peer == new.peer), new)
    elif len(everyone) > most:
        largest = max(counts.values())
        crowd = (c for c in everyone if counts[c.peer] == largest)
        candidates = _idle(crowd, new) or _idle(everyone, new)
    else:
        return None
    return min(candidates, key=_order, default=new)


def may_stay(
    connections: Iterable[Connection], own: Connection, limits: ConnectionLimits, most: int
) -> bool:
    """Whether a connection may stay open, now that the level of its token is known.

    Levels without reserved connections share the others.
    """
    if own.level is None or is_reserved(own.level):
        return True
    lesser = [c.peer for c in connections if c.level in (Level.VIEW, Level.SUBMIT)]
    of_peer = lesser.count(own.peer)
    return of_peer <= _share(limits.connections, limits) and len(lesser) <= _share(most, limits)


def lesser_to_close(connections: Iterable[C], own: C) -> C | None:
    """Return an idle connection of a view or submit token to close in favour of another one.

    Connections of the same peer come first.
    """
    candidates = [c for c in _idle(connections, own) if c.level is not None]
    return min(candidates, key=lambda c: (c.peer != own.peer, *_order(c)), default=None)


def _share(most: int, limits: ConnectionLimits) -> int:
    return most - max(1, int(most * limits.reserved_share))


def _idle(connections: Iterable[C], new: C) -> list[C]:
    return [c for c in connections if c is not new and c.is_idle and not is_reserved(c.level)]


def _order(connection: Connection) -> tuple[int, int]:
    return _RANKS.get(connection.level, len(_RANKS)), connection.number
