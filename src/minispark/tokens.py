"""The tokens of a cluster: what each allows, and how they are derived from the shared secret.

::

    shared secret ──HMAC──> view      reads pages and views
           │       ──HMAC──> submit    also starts and cancels jobs, reads results
           └───────HMAC──> worker    registers, takes tasks, reports
                             └─HMAC──> block key ──HMAC──> ticket of one job: reads its blocks

No arrow can be reversed. A peer gets a ticket, never a token: a worker may run on any machine, and
a server learns the token of each request. A ticket has no date: it is valid as long as its job has
blocks, and machines with different clocks cause no problem.

Covers: deriving and checking tokens. Does not cover: where the secret is stored
(`minispark.config`), what a route accepts (`minispark.wire.guard`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from enum import StrEnum

from minispark.errors import UsageError

_PREFIX = "minispark-"
_MIN_SECRET_CHARS = 20
"""A holder of a derived token can try secrets offline, and would find a shorter one."""


class Level(StrEnum):
    """What a token allows."""

    VIEW = "view"
    SUBMIT = "submit"
    WORKER = "worker"
    ROOT = "root"
    """The shared secret itself: everything."""


def derive(secret: str, level: Level) -> str:
    """Return the token of a level.

    Raises
    ------
    UsageError
        ``secret`` is itself a derived token.
    """
    if level is Level.ROOT:
        return secret
    if level_of(secret) is not Level.ROOT:
        msg = f"no token can be derived from a {level_of(secret)} token: it is not a shared secret"
        hint = "Give the master's own token: the text of its token file."
        raise UsageError(msg, code="MS-605", hint=hint)
    return f"{_PREFIX}{level}-{_mac(secret, f'minispark token v1: {level}')}"


def derive_strong(secret: str, level: Level) -> str:
    """Return a token that may be given to others.

    Raises
    ------
    UsageError
        The secret is so short that it could be guessed from the token.
    """
    if len(secret) < _MIN_SECRET_CHARS:
        msg = f"the shared secret has {len(secret)} characters: it could be guessed from a token"
        hint = f"Use one of at least {_MIN_SECRET_CHARS}, or let the master create it."
        raise UsageError(msg, code="MS-606", hint=hint)
    return derive(secret, level)


def level_of(token: str) -> Level:
    """Return the level in the text of a token, which proves nothing."""
    for level in (Level.VIEW, Level.SUBMIT, Level.WORKER):
        if token.startswith(f"{_PREFIX}{level}-"):
            return level
    return Level.ROOT


class BlockKey:
    """Signs the tickets for reading blocks.

    The key is derived from the shared secret or the worker token.
    """

    def __init__(self, token: str) -> None:
        worker = token if level_of(token) is Level.WORKER else derive(token, Level.WORKER)
        self._key = _mac(worker, "minispark blocks v1")

    def __repr__(self) -> str:
        return "BlockKey()"

    def ticket(self, job: str) -> str:
        """Return the ticket for the blocks of one job."""
        return _mac(self._key, job)


class Keyring:
    """The tokens that a server with ``token`` accepts."""

    def __init__(self, token: str) -> None:
        own = level_of(token)
        self._tokens = {own: token.encode()}
        if own is Level.ROOT:
            self._tokens = {level: derive(token, level).encode() for level in Level}
        self._blocks = BlockKey(token) if own in (Level.ROOT, Level.WORKER) else None

    def level(self, token: str) -> Level | None:
        """Return the level of a valid token; every other token takes the same time."""
        matched = None
        for level, expected in self._tokens.items():
            if hmac.compare_digest(token.encode(errors="replace"), expected):
                matched = level
        return matched

    def opens(self, ticket: str, job: str) -> bool:
        """Whether a text is the ticket of a job."""
        if self._blocks is None:
            return False
        expected = self._blocks.ticket(job).encode()
        return hmac.compare_digest(ticket.encode(errors="replace"), expected)


def _mac(key: str, text: str) -> str:
    digest = hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
