"""Errors of a JSON job, which name the node and the field."""

from __future__ import annotations

import re
from typing import NoReturn

from polars.exceptions import PanicException

from minispark.errors import UsageError
from minispark.jobs.operators import Operator
from minispark.printable import cut, shown

_REASON_CHARS = 300
_SYNTAX_TREE = re.compile(r"Span\(Location\((?P<line>\d+),(?P<column>\d+)\)")
"""Polars prints the whole syntax tree of some SQL that it does not support."""


def node_error(
    node: Operator,
    text: str,
    *,
    field: str,
    code: str,
    file: str | None = None,
    hint: str | None = None,
) -> UsageError:
    """Return the error whose message is "node 'id' (op)" and ``text``."""
    message = f"node {shown(node.id)} ({node.op}){text}"
    return UsageError(message, code=code, node=node.id, field=field, file=file, hint=hint)


def fail(
    node: Operator, field: str, problem: str, *, code: str = "MS-165", hint: str | None = None
) -> NoReturn:
    """Raise the error that a field of a node has a problem."""
    raise node_error(node, f", field {shown(field)}: {problem}", field=field, code=code, hint=hint)


def polars_reason(error: BaseException) -> str:
    """Return the first paragraph of an error of Polars in one line; the rest is a plan."""
    text = " ".join(str(error).split("\n\n", maxsplit=1)[0].split()) or type(error).__name__
    tree = _SYNTAX_TREE.search(text)
    if tree is not None:
        place = f"line {tree['line']}, column {tree['column']}"
        return f"Polars does not support the SQL at {place}"
    if isinstance(error, PanicException):
        text = f"Polars stopped with an internal error: {text}"
    return cut(text, _REASON_CHARS)
