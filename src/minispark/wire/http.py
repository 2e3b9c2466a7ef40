"""Versions, tokens and errors in HTTP, for both ends of a connection."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib import metadata
from typing import Any

from minispark.errors import ErrorInfo, MinisparkError
from minispark.wire.messages import Versions

_DISTRIBUTION = "minispark-engine"


@cache
def versions() -> Versions:
    """Return the versions of this process."""
    # Most commands send no plans, and start faster without Polars.
    import polars as pl

    from minispark.plan.polars_plan import plan_header

    return Versions(
        python=platform.python_version(),
        polars=pl.__version__,
        plan=plan_header().hex(),
        minispark=metadata.version(_DISTRIBUTION),
    )


def compare_versions(ours: Versions, theirs: Versions, *, peer: str) -> str | None:
    """Return a sentence on how the versions of ``peer`` differ from ours, None if they agree.

    The minor version of Python counts: functions are sent as byte code.
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
    return f"{peer} runs {' and '.join(differing)}; all parts of a cluster need the same"


def auth_headers(token: str | None) -> dict[str, str]:
    """Return the header with the token."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def error_body(info: ErrorInfo) -> dict[str, Any]:
    """Return the JSON of an error."""
    return {"error": asdict(info)}


def error_from(body: object, *, status: int) -> ErrorInfo:
    """Return the error in an answer of any form."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
        return ErrorInfo("MS-502", f"the other side answered with HTTP status {status}")
    fields = {name: error[name] for name in ErrorInfo.__slots__ if error.get(name) is not None}
    return ErrorInfo(**{"code": "MS-502", **fields})


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


class RefusedError(MinisparkError):
    """A request that a master answers with an error and its HTTP status."""

    def __init__(self, status: int, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info
        self.status = status
