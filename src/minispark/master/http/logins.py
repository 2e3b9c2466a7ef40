"""One-time login links, which give a browser its cookie.

A client with a token asks for a link. The first browser that opens it gets a cookie with the rights
of that token. The code in the link is worthless afterwards, so the browser's history may keep it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from minispark.clock import monotonic_s
from minispark.errors import ErrorInfo
from minispark.tokens import Level
from minispark.wire.http import RefusedError

LINK_LIFE_S = 600.0
"""Time to open a link after it was printed."""
_MAX_LINKS = 100
"""Unused links in memory; the oldest is dropped first."""
_LOCAL_PATH = re.compile(r"/(?!/)[A-Za-z0-9/_.~%?=&#-]{0,300}")
"""A path on this server: ``//host`` would lead to another one."""


@dataclass(frozen=True, slots=True)
class Login:
    """The rights that a link gives, the path that it leads to, and its end (monotonic)."""

    level: Level
    next: str
    until_s: float


class Logins:
    """The unused login links."""

    def __init__(self) -> None:
        self._unused: dict[str, Login] = {}

    def link(self, level: Level, target: str = "/") -> str:
        """Return a new login link that leads to the path ``target``.

        Raises
        ------
        RefusedError
            The target is not a path on this server.
        """
        if not _LOCAL_PATH.fullmatch(target):
            hint = "Give a path such as /jobs/ID."
            info = ErrorInfo("MS-621", f"a link cannot lead to {target[:100]!r}", hint=hint)
            raise RefusedError(422, info)
        code = secrets.token_urlsafe(32)
        self._unused[code] = Login(level, target, monotonic_s() + LINK_LIFE_S)
        while len(self._unused) > _MAX_LINKS:
            del self._unused[next(iter(self._unused))]
        return f"/login?code={code}"

    def open(self, code: str) -> Login | None:
        """Use a link; None if it is unknown, too old, or was used."""
        login = self._unused.pop(code, None)
        return None if login is None or login.until_s < monotonic_s() else login
