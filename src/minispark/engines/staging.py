"""Files that a query writes get their names when they are complete.

Polars writes under a name of ours beside the target; then the file is renamed. A query that fails
leaves nothing, and no reader sees half a file.
"""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from polars.io.partition import PartitionBy, SinkedPathsCallbackArgs

_MARK = ".minispark-"
_KEPT_NAME = 40
"""Characters of the target's name in the name of its staged file: a name has at most 255 bytes."""
_LATE_CHECKS = 10
_LATE_S = 0.02


@contextmanager
def staged(target: Any, *, mkdir: bool) -> Iterator[tuple[Any, Callable[[str], str]]]:
    """Give the place to write to, and a function from a path in it to the final path.

    At the end of the block all files move to ``target``; after an exception they are deleted.
    Targets that are no local files (file objects, URLs, devices, partitions whose paths a function
    of the user chooses) are written to directly.
    """
    if isinstance(target, PartitionBy):
        with _staged_directory(target) as place:
            yield place
    elif isinstance(target, str | os.PathLike):
        with _staged_file(target, mkdir=mkdir) as place:
            yield place
    else:
        yield target, _same


def with_final_paths(
    callback: Callable[[SinkedPathsCallbackArgs], None] | None, final: Callable[[str], str]
) -> Callable[[SinkedPathsCallbackArgs], None] | None:
    """Return the user's callback for written paths, so that it is given the final paths."""
    if callback is None:
        return None

    def call(args: SinkedPathsCallbackArgs) -> None:
        paths = [replace(one, path=final(one.path)) for one in args.paths]
        callback(SinkedPathsCallbackArgs(paths=paths))

    return call


@contextmanager
def _staged_file(
    target: str | os.PathLike[str], *, mkdir: bool
) -> Iterator[tuple[Any, Callable[[str], str]]]:
    path = _local(target)
    names_directory = os.fspath(target).endswith("/")
    if path is None or names_directory or not _may_replace(path, mkdir=mkdir):
        yield target, _same
        return
    # The name keeps its end: Polars compares the extension with the format and the compression.
    staging = path.with_name(f"{_MARK}{secrets.token_hex(4)}-{path.name[-_KEPT_NAME:]}")
    try:
        if path.exists():
            # A private file stays private, also while it is written.
            staging.touch(mode=0o600, exist_ok=False)
            shutil.copymode(path, staging)
        yield staging, lambda _: os.fspath(target)
        staging.replace(path)
    except BaseException:
        _remove(staging)
        raise


@contextmanager
def _staged_directory(target: PartitionBy) -> Iterator[tuple[Any, Callable[[str], str]]]:
    options = target._pl_partition_by
    base = _local(options.base_path)
    if base is None or options.file_path_provider is not None:
        yield target, _same
        return
    # Inside the directory, which may be a file system of its own.
    staging = base / f"{_MARK}{secrets.token_hex(4)}"
    place = copy.copy(target)
    place._pl_partition_by = replace(options, base_path=os.fspath(staging))
    try:
        shown = Path(options.base_path).expanduser()
        yield place, lambda path: os.fspath(shown / Path(path).relative_to(staging))
        for source in sorted(staging.rglob("*")):
            if source.is_file():
                final = base / source.relative_to(staging)
                final.parent.mkdir(parents=True, exist_ok=True)
                source.replace(final)
        shutil.rmtree(staging, ignore_errors=True)
    except BaseException:
        _remove(staging)
        raise


def _remove(staging: Path) -> None:
    """Delete what a failed query wrote. Polars' writers may create files after its error."""
    for _ in range(_LATE_CHECKS):
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):
            staging.unlink()
        threading.Event().wait(_LATE_S)


def _local(target: str | os.PathLike[str]) -> Path | None:
    """Return the path of a local target with its links resolved, None for a URL."""
    text = os.fspath(target)
    return None if "://" in text else Path(os.path.realpath(Path(text).expanduser()))


def _may_replace(path: Path, *, mkdir: bool) -> bool:
    """Whether a file may be renamed to ``path``: not if it is a directory or a device."""
    if mkdir:
        path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent.is_dir() and (path.is_file() or not path.exists())


def _same(path: str) -> str:
    return path
