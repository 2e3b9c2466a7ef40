"""The signed cookie of a browser that has logged in: its level and its end.

The cookie does not hold the token of the login. It stays valid when the server restarts, since the
server stores no sessions. A new shared secret makes all cookies invalid.

Covers: making and checking cookies. Does not cover: when a browser gets one
(`minispark.master.http.logins`), what a route accepts (`minispark.wire.guard`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from minispark.clock import wall_s
from minispark.tokens import Level

COOKIE_LIFE_S = 12 * 3600.0
"""A working day: long enough for few logins, short enough for a shared machine."""
_MAX_CHARS = 200
_BROWSER_LEVELS = (Level.VIEW, Level.SUBMIT, Level.ROOT)


@dataclass(frozen=True, slots=True)
class CookieKey:
    """Makes and checks the cookies of one cluster.

    ``name`` holds the id of the cluster: browsers send cookies to all ports of a host, and a host
    may run several masters. A cookie is accepted on ``paths`` only.
    """

    key: bytes
    name: str
    secure: bool
    paths: re.Pattern[str]

    @classmethod
    def of(cls, secret: str, cluster: str, *, secure: bool, paths: re.Pattern[str]) -> CookieKey:
        """Derive the key from the shared secret."""
        purpose = f"minispark cookie v1: {cluster}".encode()
        key = hmac.new(secret.encode(), purpose, hashlib.sha256).digest()
        return cls(key, f"{'__Host-' if secure else ''}minispark-{cluster}", secure, paths)

    def __repr__(self) -> str:
        return f"CookieKey(name={self.name!r})"

    def set_cookie(self, level: Level) -> str:
        """Return the header that gives a browser a cookie of a level."""
        until = int(wall_s() + COOKIE_LIFE_S)
        text = f"{level.value}.{until}.{secrets.token_urlsafe(9)}"
        return self._header(f"{text}.{self._mac(text)}", int(COOKIE_LIFE_S))

    def drop_cookie(self) -> str:
        """Return the header that removes the cookie."""
        return self._header("", 0)

    def level(self, headers: Iterable[str], path: str) -> Level | None:
        """Return the level of the cookie in a request to a path; None without a valid cookie."""
        if not self.paths.fullmatch(path):
            return None
        for pair in ";".join(headers).split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self.name and len(value) <= _MAX_CHARS:
                return self._verify(value)
        return None

    def _verify(self, value: str) -> Level | None:
        text, _, mac = value.rpartition(".")
        if not hmac.compare_digest(mac.encode(errors="replace"), self._mac(text).encode()):
            return None
        level, until, _ = text.split(".")
        return Level(level) if wall_s() < int(until) and level in _BROWSER_LEVELS else None

    def _mac(self, text: str) -> str:
        digest = hmac.new(self.key, text.encode(errors="replace"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _header(self, value: str, age_s: int) -> str:
        secure = "; Secure" if self.secure else ""
        return f"{self.name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"
