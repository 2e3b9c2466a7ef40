"""The connections of one server, and which of them makes room for another.

A connection says nothing about who is at the other end until its first request has shown a token.
So a new one is let in as long as another can go: an idle one that has shown no token, or else an
idle one of a token that only looks or submits. Those tokens never hold all connections: some are
for workers and for the shared secret.

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
"""What a process needs besides connections: its journal, pipes to children, files being read."""
_LEAST = 8
_MOST = 16_384
_RANKS: dict[Level | None, int] = {None: 0, Level.VIEW: 1, Level.SUBMIT: 2}


class Connection(Protocol):
    """One connection as it is seen here."""

    peer: str
    number: int
    """In the order in which they came."""
    level: Level | None
    """Of the token that its last request has shown; None without one."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        ...


C = TypeVar("C", bound=Connection)


def is_reserved(level: Level | None) -> bool:
    """Whether places are kept for a level: the cluster stands still without its workers."""
    return level in (Level.WORKER, Level.ROOT)


def capacity(servers: int = 1) -> int:
    """Return how many connections a server may have, of several that share a process."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = _MOST
    left = files - max(_OWN_FILES, files // 8)
    return max(_LEAST, min(left, _MOST) // servers)


def to_close(known: Iterable[C], new: C, door: ConnectionLimits, most: int) -> C | None:
    """Return the connection that goes now that ``new`` is here; None where all may stay.

    ``known`` holds the new one too. It goes itself where no other can.
    """
    everyone = list(known)
    mine = [one for one in everyone if one.peer == new.peer]
    if len(mine) > door.connections:
        crowd = mine
    elif len(everyone) > most:
        counts = Counter(one.peer for one in everyone)
        largest = max(counts.values())
        crowd = [one for one in everyone if counts[one.peer] == largest] or everyone
        crowd = crowd if _idle(crowd, new) else everyone
    else:
        return None
    return min(_idle(crowd, new), key=_order, default=new)


def may_stay(
    known: Iterable[Connection], one: Connection, door: ConnectionLimits, most: int
) -> bool:
    """Whether a connection that shows a token may stay.

    Those whose tokens have no places kept for them share what is left.
    """
    if one.level is None or is_reserved(one.level):
        return True
    lesser = [other for other in known if other.level in (Level.VIEW, Level.SUBMIT)]
    mine = sum(other.peer == one.peer for other in lesser)
    return mine <= _share(door.connections, door) and len(lesser) <= _share(most, door)


def lesser_to_close(known: Iterable[C], one: C) -> C | None:
    """Return an idle connection that only looks or submits, to make room for another of those.

    One of the same peer goes first.
    """
    found = [other for other in _idle(known, one) if other.level is not None]
    return min(found, key=lambda other: (other.peer != one.peer, *_order(other)), default=None)


def _share(most: int, door: ConnectionLimits) -> int:
    return most - max(1, int(most * door.reserved_share))


def _idle(known: Iterable[C], new: C) -> list[C]:
    return [one for one in known if one is not new and one.is_idle and not is_reserved(one.level)]


def _order(one: Connection) -> tuple[int, int]:
    return _RANKS.get(one.level, len(_RANKS)), one.number
