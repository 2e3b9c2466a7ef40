"""How large a JSON job may be, before its fields are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minispark.errors import UsageError
from minispark.settings import Limits


def check_limits(body: object, limits: Limits) -> Mapping[str, Any]:
    """Return a job that has no more nodes, edges, text and depth than it may.

    Raises
    ------
    UsageError
        It is no object, or too large.
    """
    if not isinstance(body, dict):
        raise _bad("a job is a JSON object", field="job")
    dag = body.get("dag")
    if isinstance(dag, dict):
        for name, limit in (("nodes", limits.nodes), ("edges", limits.edges)):
            found = dag.get(name)
            if isinstance(found, list) and len(found) > limit:
                raise _bad(f"the job has {len(found)} {name}; at most {limit} are allowed", name)
        nodes = dag.get("nodes")
        for node in nodes if isinstance(nodes, list) else ():
            _check_texts(node, limits)
    return body


def _check_texts(node: object, limits: Limits) -> None:
    name = str(node.get("id"))[:100] if isinstance(node, dict) else None
    left = [(node, 0)]
    while left:
        value, depth = left.pop()
        if depth > limits.expression_depth:
            raise _bad("the node is nested too deeply", node=name)
        if isinstance(value, str) and len(value) > limits.expression_chars:
            limit = limits.expression_chars
            raise _bad(f"a text has {len(value)} characters; at most {limit} fit", node=name)
        if isinstance(value, dict):
            left += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            left += [(item, depth + 1) for item in value]


def _bad(message: str, field: str | None = None, *, node: str | None = None) -> UsageError:
    return UsageError(message, code="MS-146", node=node, field=field)
