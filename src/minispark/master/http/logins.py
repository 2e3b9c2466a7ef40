"""One-time links: how a browser, which has no token, comes by its cookie.

Whoever has a token asks for a link; whoever opens it first gets a cookie that may do what the
token may. The link holds a number that is worth nothing afterwards, so it may lie in a history.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from minispark.clock import monotonic_s
from minispark.errors import ErrorInfo
from minispark.master.http.http_errors import RefusedError
from minispark.tokens import Level

LINK_LIFE_S = 600.0
"""Time to find the window in which the link was printed."""
_MAX_LINKS = 100
"""Links that wait to be opened; the oldest goes first."""
_PLACE = re.compile(r"/(?!/)[A-Za-z0-9/_.~%?=&#-]{0,300}")
"""A place of this server and of no other."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a link is worth."""

    level: Level
    next: str
    until_s: float


class Logins:
    """The links that wait to be opened."""

    def __init__(self) -> None:
        self._waiting: dict[str, Login] = {}

    def link(self, level: Level, place: str = "/") -> str:
        """Return the path of a link that leads to ``place``.

        Raises
        ------
        RefusedError
            The place is none of this server.
        """
        if not _PLACE.fullmatch(place):
            hint = "Give a path such as /jobs/ID."
            info = ErrorInfo("MS-621", f"a link cannot lead to {place[:100]!r}", hint=hint)
            raise RefusedError(422, info)
        code = secrets.token_urlsafe(32)
        self._waiting[code] = Login(level, place, monotonic_s() + LINK_LIFE_S)
        while len(self._waiting) > _MAX_LINKS:
            del self._waiting[next(iter(self._waiting))]
        return f"/login?code={code}"

    def open(self, code: str) -> Login | None:
        """Use a link up; None for one that was used, is too old, or never was."""
        login = self._waiting.pop(code, None)
        return None if login is None or login.until_s < monotonic_s() else login
