"""The tokens of a cluster: what each may do, and how the lesser ones are made of the secret.

::

    shared secret ──HMAC──> view      looks
           │       ──HMAC──> submit    looks, starts and cancels jobs, reads results
           └───────HMAC──> worker    registers, takes tasks, reports
                             └─HMAC──> block key ──HMAC──> ticket of one job: reads its blocks

No arrow can be gone back. What is shown to a peer is a ticket, never a token: a worker may be
anybody's machine, and whoever is called learns what it was called with. A ticket has no date: it
is worth as long as its job has blocks, and clocks of machines that differ break nothing.

Covers: making and telling apart. Does not cover: where the secret lies (`minispark.config`), which
route wants what (`minispark.wire.guard`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from enum import StrEnum

from minispark.errors import UsageError

_PREFIX = "minispark-"
_MIN_SECRET_CHARS = 20
"""Whoever holds a lesser token can try secrets at home: shorter ones are found."""


class Level(StrEnum):
    """What a token is for."""

    VIEW = "view"
    SUBMIT = "submit"
    WORKER = "worker"
    ROOT = "root"
    """The shared secret itself: everything."""


def derive(secret: str, level: Level) -> str:
    """Make the token of a level.

    Raises
    ------
    UsageError
        ``secret`` is a lesser token itself, from which nothing more can be made.
    """
    if level is Level.ROOT:
        return secret
    if level_of(secret) is not Level.ROOT:
        msg = f"a {level_of(secret)} token is no shared secret: no other token comes of it"
        hint = "Give the master's own token: the text of its token file."
        raise UsageError(msg, code="MS-605", hint=hint)
    return f"{_PREFIX}{level}-{_mac(secret, f'minispark token v1: {level}')}"


def derive_strong(secret: str, level: Level) -> str:
    """Make a token that may be handed out.

    Raises
    ------
    UsageError
        The secret is so short that it could be guessed from the token.
    """
    if len(secret) < _MIN_SECRET_CHARS:
        msg = f"the shared secret has {len(secret)} characters: it could be guessed from a token"
        hint = f"Take one of at least {_MIN_SECRET_CHARS}, or let the master make it."
        raise UsageError(msg, code="MS-606", hint=hint)
    return derive(secret, level)


def level_of(token: str) -> Level:
    """Return what a token says it is; nothing is proved by that."""
    for level in (Level.VIEW, Level.SUBMIT, Level.WORKER):
        if token.startswith(f"{_PREFIX}{level}-"):
            return level
    return Level.ROOT


class BlockKey:
    """Signs and checks the tickets with which blocks are read.

    Whoever has the shared secret or the worker token has it too.
    """

    def __init__(self, token: str) -> None:
        worker = token if level_of(token) is Level.WORKER else derive(token, Level.WORKER)
        self._key = _mac(worker, "minispark blocks v1")

    def __repr__(self) -> str:
        return "BlockKey()"

    def ticket(self, job: str) -> str:
        """Return what opens the blocks of a job, and of no other."""
        return _mac(self._key, job)


class Keyring:
    """What a server that holds ``token`` can tell of the tokens that it is shown."""

    def __init__(self, token: str) -> None:
        own = level_of(token)
        levels = list(Level) if own is Level.ROOT else [own]
        self._known = [(level, _held(token, level, own).encode()) for level in levels]
        self._blocks = BlockKey(token) if own in (Level.ROOT, Level.WORKER) else None

    def level(self, given: str) -> Level | None:
        """Return the level of a right token, in the same time for every wrong one."""
        found = None
        shown = given.encode(errors="replace")
        for level, known in self._known:
            if hmac.compare_digest(shown, known):
                found = level
        return found

    def opens(self, given: str, job: str) -> bool:
        """Whether a text is the ticket of a job."""
        if self._blocks is None:
            return False
        return hmac.compare_digest(
            given.encode(errors="replace"), self._blocks.ticket(job).encode()
        )


def _held(token: str, level: Level, own: Level) -> str:
    return token if level is own else derive(token, level)


def _mac(key: str, text: str) -> str:
    digest = hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
