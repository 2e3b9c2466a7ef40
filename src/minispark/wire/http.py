"""What both ends of a connection say in the same way: versions, the token, errors."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib import metadata
from typing import Any

from minispark.errors import ErrorInfo
from minispark.wire.messages import Versions

_DISTRIBUTION = "minispark-engine"


@cache
def versions() -> Versions:
    """Return the versions of this process."""
    # Most commands that speak to a master do not send plans, and start the sooner.
    import polars as pl

    from minispark.plan.polars_plan import plan_header

    return Versions(
        python=platform.python_version(),
        polars=pl.__version__,
        plan=plan_header().hex(),
        minispark=metadata.version(_DISTRIBUTION),
    )


def compare_versions(ours: Versions, theirs: Versions, *, who: str) -> str | None:
    """Say in one sentence what differs between us and ``who``; None where all agrees.

    Of Python the minor version counts: functions travel as its byte code.
    """
    pairs = [
        ("Mini-Spark", ours.minispark, theirs.minispark),
        ("Polars", ours.polars, theirs.polars),
        ("Python", _minor(ours.python), _minor(theirs.python)),
    ]
    differing = [f"{name} {them} (here {us})" for name, us, them in pairs if us != them]
    if not differing and ours.plan != theirs.plan:
        differing = ["another build of Polars, whose plans differ"]
    if not differing:
        return None
    return f"{who} runs {' and '.join(differing)}; all parts of a cluster need the same"


def auth_headers(token: str | None) -> dict[str, str]:
    """Return the header that carries the token."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def error_body(info: ErrorInfo) -> dict[str, Any]:
    """Return the JSON that carries an error."""
    return {"error": asdict(info)}


def error_from(body: object, *, status: int) -> ErrorInfo:
    """Read an error answer back, whatever the other side sent."""
    found = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(found.get("message"), str):
        return ErrorInfo("MS-502", f"the other side answered with HTTP status {status}")
    known: dict[str, Any] = {"code": "MS-502"}
    known |= {name: found[name] for name in ErrorInfo.__slots__ if found.get(name) is not None}
    return ErrorInfo(**known)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
