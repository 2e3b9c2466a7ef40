"""The name that people see for a query that has none: what it reads, or its SQL text."""

from __future__ import annotations

import re
from pathlib import PurePath

from minispark.plan.stages import StageGraph
from minispark.printable import cut, printable

MAX_NAME = 200
"""The master accepts no longer name of a job."""
_CHARS = 80
_TEXT = re.compile(r"'(?:[^']|'')*'")


def query_name(graph: StageGraph) -> str:
    """Return the first file that a plan reads, and how many more; without files its columns."""
    scans = [
        {PurePath(split.path): None for task in scan.tasks for split in task}
        for stage in graph.stages
        for branch in stage.branches
        for scan in branch.scans
        if not scan.spec.format.auxiliary
    ]
    files = dict.fromkeys(path for scan in scans for path in scan)
    if not files:
        columns = ", ".join(column for result in graph.results for column in result.columns)
        return _short(f"query for {columns}" if columns else "query")
    more = len(files) - 1
    return _short(next(iter(files)).name) + (f" and {more:,} more" if more else "")


def sql_name(text: str) -> str:
    """Return a query's text in one line; text values, which may be private, are left out."""
    return _short(" ".join(_TEXT.sub("'...'", text).split()))


def _short(name: str) -> str:
    return cut(printable(name), _CHARS)
