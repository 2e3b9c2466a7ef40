"""The HTML pages: Jinja templates with escaping on, and their assets.

No template has an inline script or style, so the content security policy forbids both. The address
of an asset contains a hash of all assets: a browser caches it until one changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from minispark.errors import ErrorInfo
from minispark.formatting import bytes_words, count_words, duration_words, many
from minispark.tokens import Level
from minispark.ui.compare import change_words

_ROOT = Path(__file__).parent / "assets"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the user interface."""

    name: str
    media_type: str
    body: bytes

    @property
    def text(self) -> str:
        """The file as text."""
        return self.body.decode()


def _load() -> dict[str, Asset]:
    assets = {}
    for path in sorted(_ROOT.rglob("*")):
        if path.suffix in _TYPES:
            name = path.relative_to(_ROOT).as_posix()
            assets[name] = Asset(name, _TYPES[path.suffix], path.read_bytes())
    return assets


ASSETS: Mapping[str, Asset] = _load()
"""The assets by name; the server serves no other file."""
VERSION = hashlib.sha256(b"".join(asset.body for asset in ASSETS.values())).hexdigest()[:12]
"""Part of the address of every asset; it changes with each of them."""


@dataclass(frozen=True, slots=True)
class PageViewer:
    """The reader of a page, with the rights of the token behind the login."""

    level: Level | None = None

    @property
    def may_submit(self) -> bool:
        """Whether the reader may start and cancel jobs, and read results."""
        return self.level in (Level.SUBMIT, Level.ROOT)


class Pages:
    """Renders pages of ``cluster``; ``bundled`` pages refer to no other file."""

    def __init__(self, cluster: str, *, bundled: bool = False) -> None:
        self._shared = {"cluster": cluster, "bundled": bundled}
        # Loaded now, since loading a template runs code: none of that during a request.
        self._templates = _load_templates()

    def render(self, template: str, reader: PageViewer, **values: Any) -> str:
        """Render a template."""
        return self._templates[template].render(reader=reader, **self._shared, **values)

    def refused(self, status: int, info: ErrorInfo) -> str:
        """Render the page of a refused request."""
        return self.render("refused.html", PageViewer(), status=status, error=info)


@cache
def _load_templates() -> Mapping[str, Template]:
    environment = Environment(
        loader=PackageLoader("minispark.ui"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": bytes_words,
        "count": count_words,
        "duration": duration_words,
        "many": many,
        "change": change_words,
        "iso": _iso,
        "clock": _clock,
        "number_of": lambda name: name.removeprefix("stage-"),
    }
    environment.globals["asset"] = lambda name: f"/assets/{VERSION}/{name}"
    return {name: environment.get_template(name) for name in environment.list_templates()}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
