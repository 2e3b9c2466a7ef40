"""The files of a task's splits: found, and the same as they were at planning."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from minispark.errors import ErrorInfo, JobFailedError, MinisparkError, UsageError, caused_by
from minispark.plan.stages import Split
from minispark.task.path_sandbox import is_inside
from minispark.task.safe_open import DESCRIPTORS, open_file

_DESCRIPTOR = re.compile(rf"{re.escape(str(DESCRIPTORS))}/\d+")


def checked(split: Split, data_root: Path | None) -> Path:
    """Return a path to the split's file on this machine.

    With a data root, and within `pinned_inputs`, it leads to the file that was checked, whatever
    its name leads to meanwhile.

    Raises
    ------
    JobFailedError
        The file is gone, or not as it was at planning: its splits may lie elsewhere; or it lies
        outside the data root, where there is one.
    """
    path = Path(split.path) if data_root is None else data_root / split.path
    if data_root is not None and not is_inside(path, data_root):
        raise _outside(split)
    try:
        opened = path if data_root is None else _pinned(path, data_root)
        status = opened.stat()
    except UsageError:
        raise _outside(split) from None
    except OSError as error:
        msg = f"the input file {path} cannot be read here: {error.strerror}"
        hint = "Every worker must see the input under the same path, or below its own --data-root."
        info = caused_by(error, ErrorInfo("MS-230", msg, file=str(path), hint=hint))
        raise JobFailedError.from_info(info) from error
    if (status.st_size, status.st_mtime_ns) != (split.size, split.mtime_ns):
        raise JobFailedError(
            f"the input file {path} has changed since planning",
            code="MS-231",
            file=str(path),
            hint="Run the job again; write new input under a new name.",
        )
    return opened


def named(path: Path) -> Path:
    """Return the name of a file that `checked` has given a path to."""
    return path if _held is None else _held.names.get(path, path)


@contextmanager
def pinned_inputs() -> Iterator[None]:
    """Keep the files open that are checked within the block; a process runs one task at a time.

    What an error says names files in the place of their descriptors.
    """
    global _held
    before, _held = _held, _Held()
    try:
        yield
    except BaseException as error:
        error.args = tuple(_named(one) for one in error.args)
        if isinstance(error, MinisparkError):
            error.info = with_names(error.info)
        raise
    finally:
        for descriptor in _held.descriptors:
            os.close(descriptor)
        _held = before


def with_names(info: ErrorInfo) -> ErrorInfo:
    """Return an error that names files in the place of their descriptors."""
    texts = ("message", "file", "exception_message")
    changed: dict[str, Any] = {name: _named(getattr(info, name)) for name in texts}
    return replace(info, **changed)


def _named(said: object) -> object:
    if not isinstance(said, str) or str(DESCRIPTORS) not in said:
        return said
    return _DESCRIPTOR.sub(lambda found: str(named(Path(found[0]))), said)


@dataclass(slots=True)
class _Held:
    """Descriptors of a task's inputs; paths that lead to them, with the names of the files."""

    descriptors: list[int] = field(default_factory=list)
    paths: dict[Path, Path] = field(default_factory=dict)
    names: dict[Path, Path] = field(default_factory=dict)


_held: _Held | None = None


def _pinned(path: Path, root: Path) -> Path:
    if _held is None or not DESCRIPTORS.is_dir():
        return path
    if path not in _held.paths:
        try:
            descriptor = open_file(path, root)
        except OSError as error:
            if error.errno != errno.EMFILE or not _more_files():
                raise
            descriptor = open_file(path, root)
        _held.descriptors.append(descriptor)
        _held.paths[path] = DESCRIPTORS / str(descriptor)
        _held.names[_held.paths[path]] = path
    return _held.paths[path]


def _more_files() -> bool:
    """Raise the number of files that this process may have open; False where that is the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return True


def _outside(split: Split) -> JobFailedError:
    return JobFailedError(
        f"the input file {split.path} lies outside the data root of this worker",
        code="MS-234",
        file=split.path,
        hint="Give a path under the directory that --data-root names.",
    )


def is_whole(split: Split) -> bool:
    """Whether a split in bytes is all of its file."""
    return split.start == 0 and split.end == split.size


def runs(splits: tuple[Split, ...]) -> list[tuple[bool, list[Split]]]:
    """Put neighbouring whole files together: Polars reads many in one scan at less cost."""
    return [(whole, list(group)) for whole, group in groupby(splits, is_whole)]
