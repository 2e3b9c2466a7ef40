"""The files of a task's splits: found, and the same as they were at planning."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from minispark.errors import ErrorInfo, JobFailedError, caused_by
from minispark.plan.stages import Split
from minispark.task.confine import is_inside

__all__ = ["checked", "is_whole", "runs"]


def checked(split: Split, data_root: Path | None) -> Path:
    """Return the path of a split's file on this machine.

    Raises
    ------
    JobFailedError
        The file is gone, or not as it was at planning: its splits may lie elsewhere; or it lies
        outside the data root, where there is one.
    """
    path = Path(split.path) if data_root is None else data_root / split.path
    if data_root is not None and not is_inside(path, data_root):
        raise JobFailedError(
            f"the input file {split.path} lies outside the data root of this worker",
            code="MS-234",
            file=split.path,
            hint="Give a path under the directory that --data-root names.",
        )
    try:
        status = path.stat()
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
    return path


def is_whole(split: Split) -> bool:
    """Whether a split in bytes is all of its file."""
    return split.start == 0 and split.end == split.size


def runs(splits: tuple[Split, ...]) -> list[tuple[bool, list[Split]]]:
    """Put neighbouring whole files together: Polars reads many in one scan at less cost."""
    return [(whole, list(group)) for whole, group in groupby(splits, is_whole)]
