"""Keeps a task inside the data root: checks every file that its plan reads or writes.

The plan is checked as Polars itself serializes it (`LazyFrame.serialize` of the plan that Polars
has just read), so no spelling is clear to Polars only. Nodes of a kind that may use files, or of an
unknown kind, are refused. Files that SQL names are searched for in its text; a spelling that Polars
might split in another way is refused.

Covers: scans, sinks and SQL, links and wildcards resolved. Does not cover: Python functions in a
plan, which may do what their user may do; a link that is replaced after this check (splits and
sinks are opened under the root, see `safe_open`; files that a plan names are not).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from glob import has_magic
from itertools import takewhile
from pathlib import Path
from typing import Any

import polars as pl

from minispark.errors import JobFailedError, UsageError
from minispark.plan.markers import is_leaf
from minispark.plan.polars_plan import Node, PlanUnreadableError, every_node
from minispark.plan.scan_files import expand
from minispark.plan.sqltext import SqlRefusedError, files_named
from minispark.plan.stages import ScanSpec
from minispark.printable import cut
from minispark.task.safe_open import is_inside

_HARMLESS = frozenset(
    {
        "Cache",
        "DataFrameScan",
        "Distinct",
        "Filter",
        "Gather",
        "GroupBy",
        "HConcat",
        "HStack",
        "Join",
        "MapFunction",
        "MatchToSchema",
        "MergeSorted",
        "Pivot",
        "Recursive",
        "Select",
        "SinkMultiple",
        "Slice",
        "Sort",
        "Union",
        "WorkingTable",
    }
)
"""Nodes that read and write no file."""
_MAX_SQL_CHARS = 1_000_000
_SHOWN_CHARS = 200
_FOREIGN_OPTIONS = frozenset({"storage_options", "credential_provider", "cloud_options"})


def check_plan(plan: pl.LazyFrame, root: Path) -> None:
    """Refuse a plan that would read or write outside ``root``.

    Raises
    ------
    JobFailedError
        The plan names such a file, or a node cannot be checked.
    """
    try:
        nodes = every_node(plan)
    except PlanUnreadableError as error:
        raise _refused("this plan cannot be checked") from error
    for node in nodes:
        match node.kind:
            case "Scan":
                _check_scan(node.body, root)
            case "Sink":
                _check_sink(node.body["payload"], root)
            case "SQL":
                _check_sql(node, root)
            case kind if kind not in _HARMLESS and not is_leaf(node):
                raise _refused(f"what a {kind} node of a plan reads cannot be checked")


def check_options(spec: ScanSpec) -> None:
    """Refuse options of a reader that may open other files than the splits.

    Raises
    ------
    JobFailedError
        The reader has such an option.
    """
    for name in spec.options:
        if name.startswith("_") or name in _FOREIGN_OPTIONS:
            raise _refused(f"the option {name[:_SHOWN_CHARS]!r} of a reader is not allowed")


def _check_scan(body: Mapping[str, Any], root: Path) -> None:
    sources, kind = body["sources"], body["scan_type"]
    if isinstance(kind, Mapping) and any(str(name).startswith("Python") for name in kind):
        raise _refused("what a Python reader reads cannot be checked")
    arguments = body["unified_scan_args"]
    if arguments.get("deletion_files") is not None:
        raise _refused("files of deleted rows cannot be checked")
    if sources.keys() == {"Buffers"}:
        return
    if sources.keys() != {"Paths"}:
        raise _refused("what a scan of this plan reads cannot be checked")
    paths = [str(entry["inner"]) for entry in sources["Paths"]]
    _check_paths(
        paths,
        root,
        glob=bool(arguments.get("glob", True)),
        hidden_file_prefix=arguments.get("hidden_file_prefix"),
    )


def _check_paths(
    paths: Sequence[str],
    root: Path,
    *,
    glob: bool = True,
    hidden_file_prefix: Sequence[str] | None = None,
) -> None:
    for path in paths:
        if not is_inside(fixed_part(path) if glob else path, root):
            raise _outside(path)
        if not (glob and has_magic(path)) and not Path(path).is_dir():
            continue
        try:
            files = expand([path], glob=glob, hidden_file_prefix=hidden_file_prefix)
        except UsageError:
            continue  # Polars will refuse the path with its own message.
        if not all(is_inside(file, root) for file in files):
            raise _outside(path)


def fixed_part(path: str) -> Path:
    """Return the part of a path before its first wildcard."""
    return Path(*takewhile(lambda part: not has_magic(part), Path(path).parts))


def _check_sink(payload: Any, root: Path) -> None:
    if payload == "Memory" or (isinstance(payload, Mapping) and "Memory" in payload):
        return
    match payload:
        case {"File": {"target": {"inner": str(path)}}}:
            chosen_by_function = False
        case {"Partitioned": {"base_path": {"inner": str(path)}, **rest}}:
            chosen_by_function = rest.get("file_path_provider", "unknown") is not None
        case _:
            raise _refused("where this plan writes to cannot be checked")
    if chosen_by_function or not is_inside(path, root):
        raise _outside(path)


def _check_sql(node: Node, root: Path) -> None:
    if node.body.get("catalog_tables"):
        raise _refused("tables of a catalog cannot be checked")
    try:
        paths = files_named(node.body["query"], max_chars=_MAX_SQL_CHARS)
    except SqlRefusedError as error:
        raise _refused(f"a query cannot be checked: {error.message}") from error
    _check_paths(paths, root)


def _outside(path: str) -> JobFailedError:
    shown = cut(path, _SHOWN_CHARS)
    return JobFailedError(
        f"{shown!r} is outside the data root of this worker",
        code="MS-234",
        file=shown,
        hint="Use a plain path below the --data-root directory.",
    )


def _refused(problem: str) -> JobFailedError:
    hint = "This worker was started with --data-root: it reads and writes nothing outside it."
    return JobFailedError(problem, code="MS-612", hint=hint)
