"""Where a job comes from: who submitted it, with which token, and from which text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, Field

from minispark.errors import UsageError
from minispark.tokens import Level

USER_HEADER = "Minispark-User"
"""The name that a client gives, percent-encoded UTF-8. It proves nothing: the token does."""
MAX_USER_CHARS = 100
SourceKind = Literal["json", "sql"]


class JobOrigin(BaseModel):
    """Who submitted a job. ``access`` is the level of the token, ``source`` the kind of its text.

    All fields are None for jobs of earlier versions.
    """

    model_config = ConfigDict(frozen=True)

    user: Annotated[str | None, Field(max_length=MAX_USER_CHARS)] = None
    access: Level | None = None
    source: SourceKind | None = None


NO_ORIGIN = JobOrigin()
"""Of jobs of earlier versions, and of the embedded engine."""


@dataclass(frozen=True, slots=True)
class JobSource:
    """The text of a job: a JSON job, or the SQL of a query."""

    kind: SourceKind
    text: str


def checked_user(name: str) -> str | None:
    """Return the name of a user without white space around it, None if it is empty.

    Raises
    ------
    UsageError
        It is too long, or has characters that cannot be shown.
    """
    name = name.strip()
    if len(name) > MAX_USER_CHARS or not name.isprintable():
        msg = f"a user name has at most {MAX_USER_CHARS} characters, all of them printable"
        raise UsageError(msg, field="user")
    return name or None


def user_headers(user: str | None) -> dict[str, str]:
    """Return the header with the user's name; None is that of the environment, if it has one."""
    name = checked_user(os.environ.get("MINISPARK_USER", "") if user is None else user)
    return {} if name is None else {USER_HEADER: quote(name)}


def user_of(headers: Mapping[str, str]) -> str | None:
    """Return the user's name in the headers of a request.

    Raises
    ------
    UsageError
        It is not a name (`checked_user`).
    """
    return checked_user(unquote(headers.get(USER_HEADER, "")))
