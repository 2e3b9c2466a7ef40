"""The input files of a task: opened once, and the same as they were at planning."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from minispark.errors import ErrorInfo, JobFailedError, MinisparkError, UsageError, caused_by
from minispark.plan.stages import Split
from minispark.task.safe_open import DESCRIPTORS, is_inside, open_file

_DESCRIPTOR = re.compile(rf"{re.escape(str(DESCRIPTORS))}/\d+")


def input_path(split: Split, data_root: Path | None) -> Path:
    """Return a path to the file of a split on this machine, which is as it was at planning.

    With a data root, and within `pinned_inputs`, the path leads to the file that was checked, even
    if the name of the file leads to another one later.

    Raises
    ------
    JobFailedError
        The file is missing, has changed since planning (its records may be at other places), or
        is outside the data root.
    """
    path = Path(split.path) if data_root is None else data_root / split.path
    if data_root is not None and not is_inside(path, data_root):
        raise _outside(split)
    try:
        opened = path if data_root is None else _pin(path, data_root)
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


_pinned: dict[Path, Path] | None = None
"""Input files that are kept open, each with the path of its descriptor; None outside a task."""


@contextmanager
def pinned_inputs() -> Iterator[None]:
    """Keep the checked input files open within the block; a process runs one task at a time.

    Errors from the block name files, not descriptors.
    """
    global _pinned
    _pinned = {}
    try:
        yield
    except BaseException as error:
        error.args = tuple(_with_names(text) for text in error.args)
        if isinstance(error, MinisparkError):
            error.info = with_file_names(error.info)
        raise
    finally:
        for opened in _pinned.values():
            os.close(int(opened.name))
        _pinned = None


def file_name(path: Path) -> Path:
    """Return the name of the file that `input_path` returned a path to."""
    return next((file for file, opened in (_pinned or {}).items() if opened == path), path)


def with_file_names(info: ErrorInfo) -> ErrorInfo:
    """Return the error with names of files in place of their descriptors."""
    return info.map_texts(_with_names, names=("message", "file", "exception_message"))


def _with_names(text: object) -> object:
    if not isinstance(text, str):
        return text
    return _DESCRIPTOR.sub(lambda match: str(file_name(Path(match[0]))), text)


def _pin(path: Path, root: Path) -> Path:
    if _pinned is None or not DESCRIPTORS.is_dir():
        return path
    if path not in _pinned:
        try:
            descriptor = open_file(path, root)
        except OSError as error:
            if error.errno != errno.EMFILE or not _raise_file_limit():
                raise
            descriptor = open_file(path, root)
        _pinned[path] = DESCRIPTORS / str(descriptor)
    return _pinned[path]


def _raise_file_limit() -> bool:
    """Raise the number of files that this process may open; False if it is the highest already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return True


def _outside(split: Split) -> JobFailedError:
    return JobFailedError(
        f"the input file {split.path} is outside the data root of this worker",
        code="MS-234",
        file=split.path,
        hint="Use a path below the --data-root directory.",
    )


def is_whole(split: Split) -> bool:
    """Whether a split in bytes is all of its file."""
    return split.start == 0 and split.end == split.size


def group_whole_files(splits: tuple[Split, ...]) -> list[tuple[bool, list[Split]]]:
    """Group neighbouring splits by whether they are whole files: Polars reads many in one scan."""
    return [(whole, list(group)) for whole, group in groupby(splits, is_whole)]
