"""Pages as HTML: Jinja templates with escaping on, and the assets they name.

No template has a script or a style of its own, so the content security policy may forbid both.
Assets lie under a name that hangs on their content: a browser keeps them until they change.
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
    found = {}
    for path in sorted(_ROOT.rglob("*")):
        if path.suffix in _TYPES:
            name = path.relative_to(_ROOT).as_posix()
            found[name] = Asset(name, _TYPES[path.suffix], path.read_bytes())
    return found


ASSETS: Mapping[str, Asset] = _load()
"""All that is served: names that are not here are nowhere."""
VERSION = hashlib.sha256(b"".join(asset.body for asset in ASSETS.values())).hexdigest()[:12]
"""Stands in the address of each, and changes with any of them."""


@dataclass(frozen=True, slots=True)
class PageViewer:
    """Who looks: what they may do hangs on how they logged in."""

    level: Level | None = None

    @property
    def may_submit(self) -> bool:
        """Whether they may start and cancel jobs, and read results."""
        return self.level in (Level.SUBMIT, Level.ROOT)


class Pages:
    """Renders pages; ``cluster`` is shown on each. ``bundled`` pages name no other file."""

    def __init__(self, cluster: str, *, bundled: bool = False) -> None:
        self._same = {"cluster": cluster, "bundled": bundled}
        # Loading a template runs the code that it became: none of that while requests come in.
        self._templates = _load_templates()

    def render(self, template: str, reader: PageViewer, **values: Any) -> str:
        """Render a template."""
        return self._templates[template].render(reader=reader, **self._same, **values)

    def refused(self, status: int, info: ErrorInfo) -> str:
        """Render a refusal for somebody who wanted to read a page."""
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
