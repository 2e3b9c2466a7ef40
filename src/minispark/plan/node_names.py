"""Names of plan nodes, as a user would say them: ``filter a > 1``, ``left join on key``.

Values in quotes are left out: names are kept with a job, and values may be private.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

from polars.exceptions import PolarsError

from minispark.plan.polars_plan import Node, expression
from minispark.plan.scan_options import paths_of
from minispark.printable import cut, printable

_MAX = 60
_COLUMN = re.compile(r'\bcol\("([^"]*)"\)')
_OUTPUT = re.compile(r'\.alias\("([^"]*)"\)')
_VALUE = re.compile(r'"[^"]*"')
_TYPED = re.compile(r"\b(?:dyn )?(?:int|float): ")
_BRACKETS = re.compile(r"\(([^\s()\[\]]+)\)(?=[\s\]])|(?<=[\[\s])\(([^\s()\[\]]+)\)")
_OUTER = re.compile(r"^\[(.*)\]( as .*)?$")


def node_name(node: Node) -> str:
    """Return the name of a node, shortened; it need not be the only one of that name."""
    describe = _NAMES.get(node.kind)
    try:
        name = node.kind if describe is None else describe(node.body)
    except (PolarsError, KeyError, TypeError, ValueError):  # a body of a form not seen before
        name = node.kind
    return cut(printable(name), _MAX)


def _text(body: Any) -> str:
    text = _OUTPUT.sub(r" as \1", _COLUMN.sub(r"\1", str(expression(body))))
    text = _TYPED.sub("", _VALUE.sub("'…'", text))
    before = ""
    while text != before:
        before, text = text, _BRACKETS.sub(lambda found: found[1] or found[2], text)
    text = _OUTER.sub(r"\1\2", text)
    return text.replace("([", "(").replace("])", ")")


def _list(bodies: Iterable[Any]) -> str:
    return ", ".join(map(_text, bodies))


def _scan(body: Mapping[str, Any]) -> str:
    paths, kind = paths_of(body), body["scan_type"]
    what = f"scan_{next(iter(kind)) if isinstance(kind, dict) else kind}".lower()
    if not paths:
        return what
    more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
    return f"{what} {PurePath(paths[0]).name}{more}"


def _join(body: Mapping[str, Any]) -> str:
    how, condition = body["options"]["args"]["how"], body["condition"]
    name = f"{how} join" if isinstance(how, str) else f"{next(iter(how))} join"
    keys = condition.get("Equi", {}).get("left_on") if isinstance(condition, dict) else None
    return f"{name.lower()} on {_list(keys)}" if keys else name.lower()


def _slice(body: Mapping[str, Any]) -> str:
    offset, length = body["offset"], body["len"]
    if offset == 0:
        return f"head {length:,}"
    return f"tail {length:,}" if offset == -length else f"slice {offset:,}, {length:,}"


def _function(body: Mapping[str, Any]) -> str:
    function = body["function"]
    name = next(iter(function)) if isinstance(function, dict) else str(function)
    if name == "OpaquePython":
        return "map_batches"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _unique(body: Mapping[str, Any]) -> str:
    subset = body["options"]["subset"]
    return f"unique by {_list(subset)}" if subset else "unique"


_NAMES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "Scan": _scan,
    "DataFrameScan": lambda body: f"DataFrame {', '.join(body['schema']['fields'])}",
    "Filter": lambda body: f"filter {_text(body['predicate'])}",
    "Select": lambda body: f"select {_list(body['expr'])}",
    "HStack": lambda body: f"with_columns {_list(body['exprs'])}",
    "GroupBy": lambda body: f"group_by {_list(body['keys'])}",
    "Join": _join,
    "Distinct": _unique,
    "Sort": lambda body: f"sort by {_list(body['by_column'])}",
    "Slice": _slice,
    "Union": lambda _body: "concat",
    "HConcat": lambda _body: "concat horizontal",
    "MapFunction": _function,
    "MergeSorted": lambda _body: "merge_sorted",
    "Pivot": lambda _body: "pivot",
}
