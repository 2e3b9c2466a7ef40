"""Resolves the paths of a job, and refuses some of them.

What a path means is in `minispark.plan.input_paths`.
A relative path is under the data root, or without one under the directory where the process was
started. With a data root no path leads outside it: not by ``..``, not as an absolute path, not by a
symbolic link. URLs are refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minispark.errors import UsageError
from minispark.jobs.errors import node_error
from minispark.jobs.operators import (
    Operator,
    Read,
    ReadAny,
    ReadCsv,
    ReadJsonl,
    ReadParquet,
    ReadText,
    Write,
    names,
)
from minispark.plan.input_paths import (
    InputFiles,
    check_same_format,
    empty_files,
    files_of,
    format_of,
    is_directory,
    polars_sources,
)
from minispark.printable import shown
from minispark.task.path_sandbox import fixed_part
from minispark.task.safe_open import is_url

_MAX_PATHS = 65_536
_SHOWN_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class MatchedFiles:
    """The inputs of a node: what Polars is given, and the files that match it now."""

    sources: tuple[str, ...]
    files: tuple[str, ...]
    hidden_prefixes: tuple[str, ...] | None = None
    """How names begin that Polars leaves out of a directory of Parquet files."""


def find_inputs(node: Read, data_root: Path | None, *, may_be_empty: bool = False) -> MatchedFiles:
    """Return the absolute paths of a reader's inputs.

    Polars skips empty files in directories and patterns; with ``may_be_empty`` all files of a path
    may be empty.

    Raises
    ------
    UsageError
        A path is refused, or there is no such file.
    """
    paths = names(node.path)
    if len(paths) > _MAX_PATHS:
        raise _refused(node, paths[0], f"has {len(paths):,} paths; at most {_MAX_PATHS:,} fit")
    found = [_expand(node, path, data_root, may_be_empty=may_be_empty) for path in paths]
    try:
        sources, prefixes = polars_sources(found, parquet=isinstance(node, ReadParquet))
    except UsageError as error:
        raise _unreadable(node, paths[0], error) from None
    files = tuple(file for each in found for file in each.files)
    return MatchedFiles(tuple(sources), files, None if prefixes is None else tuple(prefixes))


def with_format(node: ReadAny, data_root: Path | None) -> Read:
    """Return the reader for the format of a node's files.

    Raises
    ------
    UsageError
        A path is refused, or the files have different formats or one that jobs do not read.
    """
    path, files = names(node.path)[0], find_inputs(node, data_root).files
    try:
        format_ = format_of(files, path)
    except UsageError as error:
        raise _unreadable(node, path, error) from None
    fields = node.model_dump(exclude={"op"})
    match format_:
        case "csv":
            return ReadCsv(op="read_csv", **fields)
        case "tsv":
            return ReadCsv(op="read_csv", separator="\t", **fields)
        case "jsonl":
            return ReadJsonl(op="read_jsonl", **fields)
        case "parquet":
            return ReadParquet(op="read_parquet", **fields)
        case "text":
            return ReadText(op="read_text", **fields)
    hint = "write its rows to Parquet first; minispark sql does, with --output rows.parquet"
    problem = "is an Arrow file, which jobs cannot read"
    raise _refused(node, path, problem, hint=hint, code="MS-168")


def place_output(node: Write, data_root: Path | None) -> str:
    """Return the directory of a writer: relative to the data root if there is one, else absolute.

    Raises
    ------
    UsageError
        The path is refused.
    """
    absolute = _absolute(node, node.path, data_root)
    if data_root is None:
        return absolute
    relative = os.path.relpath(absolute, data_root.absolute())
    if relative == ".":
        raise _refused(node, node.path, "is the data root itself; name a directory in it")
    return relative


def _absolute(node: Operator, path: str, data_root: Path | None) -> str:
    if "\0" in path:
        raise _refused(node, path, "holds a null character")
    if is_url(path):
        hint = "name files that every worker sees under the same path"
        raise _refused(node, path, "is a URL; only local files are read and written", hint=hint)
    if data_root is None:
        return os.path.normpath(Path.cwd() / path)
    root = data_root.absolute()
    # A path without ".." can leave the root only by a link, which is checked next.
    normal = os.path.normpath(root / path)
    resolved_root = root.resolve()
    if not Path(normal).is_relative_to(root) and Path(normal).is_relative_to(resolved_root):
        normal = str(root / Path(normal).relative_to(resolved_root))
    if not Path(normal).is_relative_to(root):
        raise _outside(node, path)
    normal = _without_own_name(normal, path, root)
    relative = Path(normal).relative_to(root)
    # A wildcard in the name of the root itself is none.
    fixed = root / (fixed_part(str(relative)) if isinstance(node, Read) else relative)
    try:
        leads_out = not fixed.resolve().is_relative_to(resolved_root)
    except (OSError, RuntimeError):
        raise _refused(node, path, "is a broken link") from None
    if leads_out:
        raise _outside(node, path)
    return normal


def _without_own_name(normal: str, path: str, root: Path) -> str:
    """Read ``data/x.csv`` as ``x.csv`` under a root that is named ``data`` and holds no ``data``.

    So a path that is right in the directory above the root is right on every machine.
    """
    parts = Path(normal).relative_to(root).parts
    if Path(path).is_absolute() or parts[:1] != (root.name,) or (root / root.name).exists():
        return normal
    return str(root.joinpath(*parts[1:]))


def _expand(node: Read, path: str, data_root: Path | None, *, may_be_empty: bool) -> InputFiles:
    absolute = _absolute(node, path, data_root)
    start = Path.cwd() if data_root is None else data_root.absolute()
    try:
        found = files_of(absolute, start=None if Path(path).is_absolute() else start)
    except UsageError as error:
        if error.info.code == "MS-168":
            raise _unreadable(node, path, error) from None
        raise _not_listed(node, path, error, data_root) from None
    if not found.files and not (may_be_empty and _holds_files(absolute, data_root)):
        raise _nothing_in(node, path, absolute, data_root)
    _check_files(node, path, found.files, data_root)
    try:
        if is_directory(absolute):
            check_same_format(found.files, path, directory=True)
    except UsageError as error:
        raise _unreadable(node, path, error) from None
    return found


def _check_files(node: Read, path: str, files: Sequence[str], data_root: Path | None) -> None:
    if data_root is not None:
        root = data_root.resolve()
        # A wildcard may match a link that leads out; the error does not say that its target exists.
        # A circle of links is refused next, as a missing file.
        if not all(Path(os.path.realpath(file)).is_relative_to(root) for file in files):
            raise _missing(node, path, data_root)
    for file in files:
        if not _exists(file):
            raise _missing(node, path, data_root)
        if not Path(file).is_file():
            hint = "write the data of the pipe or device to a file first"
            raise _refused(node, path, "is not a regular file", hint=hint)
        if not os.access(file, os.R_OK):
            raise _refused(node, path, "may not be read: permission denied", code="MS-168")


def _exists(file: str) -> bool:
    try:
        return Path(file).exists()
    except OSError:
        # A name that is too long for a file, or a directory that may not be searched.
        return False


def _holds_files(absolute: str, data_root: Path | None) -> bool:
    """Whether a path that Polars finds no file in holds empty files."""
    root = Path("/") if data_root is None else data_root.resolve()
    return any(file.resolve().is_relative_to(root) for file in empty_files(absolute))


def _nothing_in(node: Operator, path: str, absolute: str, data_root: Path | None) -> UsageError:
    if not _holds_files(absolute, data_root):
        return _missing(node, path, data_root)
    hint = "give the columns in schema" if isinstance(node, ReadCsv | ReadJsonl) else None
    return _refused(node, path, "matches empty files only", hint=hint, code="MS-110")


def _not_listed(node: Operator, path: str, error: UsageError, data_root: Path | None) -> UsageError:
    """Return an error with the reason of Polars; under a data root without the names in it."""
    reason = error.info.message.splitlines()[0]
    if data_root is not None:
        reason = reason.partition(": ")[0]
    hint = "name the files by a pattern, such as directory/*.csv"
    return _refused(node, path, f"is not read by Polars: {reason}", hint=hint, code="MS-168")


def _unreadable(node: Operator, path: str, error: UsageError) -> UsageError:
    """Return an error of `minispark.plan.input_paths`, which names the path only."""
    return _refused(node, path, error.info.message, hint=error.info.hint, code=error.info.code)


def _missing(node: Operator, path: str, data_root: Path | None) -> UsageError:
    hint = f"relative paths start at {data_root or Path.cwd()}"
    error = _refused(node, path, "matches no file", hint=hint, code="MS-110")
    return UsageError.from_info(replace(error.info, exception="FileNotFoundError"))


def _outside(node: Operator, path: str) -> UsageError:
    hint = "use a path below the --data-root directory"
    return _refused(node, path, "is outside the data root", hint=hint)


def _refused(
    node: Operator, path: str, problem: str, *, hint: str | None = None, code: str = "MS-166"
) -> UsageError:
    text = f": the path {shown(path)} {problem}"
    file = path[:_SHOWN_CHARS]
    return node_error(node, text, field="path", code=code, file=file, hint=hint)
