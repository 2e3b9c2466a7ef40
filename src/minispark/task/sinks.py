"""The output files of a job: written under staging names, published by the job's commit.

::

    <sink path>/
      _minispark-<job>/                  until the commit
        part-00003.<block id>.csv        one for each attempt that succeeded
      part-00000.csv                     after it; names depend on the partition only
      _SUCCESS                           last

A commit may stop at any point and run again with the same files: the end is the same. No file has
its final name before the commit begins. An empty partition writes no file, except partition 0,
whose file has the columns of an empty result. The commit leaves that file out if there are rows.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from minispark.blocks.format import rows_checksum
from minispark.errors import MinisparkError, UsageError
from minispark.ids import TaskKey
from minispark.plan.stages import SinkSpec
from minispark.task.formats import WRITERS
from minispark.task.safe_open import (
    is_inside,
    make_directory,
    outside_error,
    pinned_directory,
    subdirectory,
)
from minispark.task.spec import SinkFile

_SUCCESS = "_SUCCESS"
_STAGING = "_minispark-"
_MADE = "made-"
"""Prefix of an empty file in the staging directory that says how many directories were made."""
_PART = re.compile(r"part-\d{5,}\.(csv|jsonl|parquet)")
_STAGED_PART = re.compile(r"[^/]+/part-\d{5,}\.(?P<block>.+)\.(?P<format>csv|jsonl|parquet)")

Rename = Callable[[Path, Path], object]


def sink_directory(sink: SinkSpec, data_root: str | None) -> Path:
    """Return the directory of a sink; a relative path is under the data root.

    Raises
    ------
    UsageError
        The path leads out of the data root.
    """
    if data_root is None:
        return Path(sink.path)
    directory = Path(data_root) / sink.path
    if not is_inside(directory, Path(data_root)):
        raise outside_error(Path(sink.path))
    return directory


def write_part(
    frame: pl.DataFrame, sink: SinkSpec, *, key: TaskKey, data_root: str | None
) -> SinkFile | None:
    """Write the rows of an attempt under a staging name and return the file, None if not needed.

    The names in the result are relative to the directory of the sink.
    """
    if frame.height == 0 and key.partition > 0:
        return None
    if sink.format not in WRITERS:
        msg = f"cannot write files of format {sink.format!r}; known are {', '.join(WRITERS)}"
        raise UsageError(msg)
    directory, root = sink_directory(sink, data_root), _root(data_root)
    try:
        try:
            size = _stage(frame, sink, key, directory, root)
        except FileNotFoundError:
            # Another attempt has just removed the folder, which was empty (`discard_part`).
            size = _stage(frame, sink, key, directory, root)
    except BaseException:
        with suppress(OSError, MinisparkError):
            discard_part(sink, key=key, data_root=data_root)
        raise
    staged, final = _names(key, sink.format)
    return SinkFile(staged, final, frame.height, size, rows_checksum(frame))


def _stage(
    frame: pl.DataFrame, sink: SinkSpec, key: TaskKey, directory: Path, root: Path | None
) -> int:
    """Write a staged file and return its size."""
    folder, _, name = _names(key, sink.format)[0].partition("/")
    levels = make_directory(directory, root)
    with pinned_directory(directory, root) as out:
        (out / folder).mkdir(exist_ok=True)
        with subdirectory(out, folder) as staging:
            if levels:
                (staging / f"{_MADE}{levels}").touch()
            path = staging / name
            path.unlink(missing_ok=True)
            # Not through a link that appears under this name.
            with path.open("xb") as file:
                WRITERS[sink.format](frame, file)
                file.flush()
                return os.fstat(file.fileno()).st_size


def discard_part(sink: SinkSpec, *, key: TaskKey, data_root: str | None) -> None:
    """Remove the staged file of an attempt that no commit will publish.

    The job may have ended already, so its staging directory is removed too if it is empty.
    """
    directory, root = sink_directory(sink, data_root), _root(data_root)
    folder, _, name = _names(key, sink.format)[0].partition("/")
    with suppress(FileNotFoundError), pinned_directory(directory, root) as out:
        with subdirectory(out, folder) as staging:
            (staging / name).unlink(missing_ok=True)
            marks = [path.name for path in staging.iterdir()]
            if not all(mark.startswith(_MADE) for mark in marks):
                return
            for mark in marks:
                (staging / mark).unlink(missing_ok=True)
        try:
            (out / folder).rmdir()
        except OSError:  # Another attempt stages now.
            with suppress(OSError), subdirectory(out, folder) as staging:
                for mark in marks:
                    (staging / mark).touch()
            return
        _remove_made(directory, root, _levels(marks))


def _names(key: TaskKey, format_: str) -> tuple[str, str]:
    """Return the staging name and the final name of the file of an attempt."""
    part = f"part-{key.partition:05d}"
    return f"{_STAGING}{key.job}/{part}.{key.block_id}.{format_}", f"{part}.{format_}"


def _root(data_root: str | None) -> Path | None:
    return None if data_root is None else Path(data_root)


def _levels(marks: Iterable[str]) -> int:
    """Return how many directories the job made, by the marks in its staging directory."""
    numbers = (mark.removeprefix(_MADE) for mark in marks if mark.startswith(_MADE))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _remove_made(directory: Path, root: Path | None, levels: int) -> None:
    """Remove directories that a job made for its output, the lowest first, if they are empty."""
    for path in (directory, *directory.parents)[:levels]:
        if path == root:
            return
        try:
            with pinned_directory(path.parent, root) as above:
                (above / path.name).rmdir()
        except (OSError, UsageError):
            return


def check_directory(directory: Path, *, overwrite: bool) -> None:
    """Refuse an output directory before the job starts.

    Raises
    ------
    UsageError
        The directory is a file, cannot be made, or is not empty and ``overwrite`` is not given.
    """
    if not directory.exists():
        _check_above(directory)
        return
    if not directory.is_dir():
        msg = f"the output {directory} is a file, not a directory"
        raise UsageError(msg, code="MS-120", file=str(directory))
    if overwrite:
        return
    # Staged files of a killed job are not output.
    if any(not entry.name.startswith(_STAGING) for entry in directory.iterdir()):
        msg = f"the output directory {directory} is not empty"
        hint = "Give overwrite (an option of a command: --force), or name another directory."
        raise UsageError(msg, code="MS-121", file=str(directory), hint=hint)


def _check_above(directory: Path) -> None:
    """Refuse a directory that cannot be made: a link or a file is in the way."""
    for path in (directory, *directory.parents):
        if path.is_dir():
            return
        if path.is_symlink():
            problem = "is a broken link"
        elif path.exists():
            problem = "is a file, not a directory"
        else:
            continue
        name = "the output" if path == directory else f"the output {directory} cannot be created:"
        hint = "Remove it, or name another directory."
        raise UsageError(f"{name} {path} {problem}", code="MS-120", file=str(path), hint=hint)


def commit(
    files: Sequence[SinkFile],
    *,
    directory: Path,
    job: str,
    overwrite: bool,
    root: Path | None = None,
    rename: Rename = Path.replace,
) -> tuple[str, ...]:
    """Publish the files of the accepted attempts and return their final names, in order.

    With ``overwrite``, parts of an earlier job are removed; other files never are. An old
    ``_SUCCESS`` is removed first, the new one is written last. With a ``root`` nothing outside it
    is changed, even if a directory becomes a link meanwhile.

    Raises
    ------
    UsageError
        A final name is taken although nothing may be overwritten, a name is not that of a sink of
        the job, or the directory is outside the root.
    FileNotFoundError
        A file is neither staged nor published.
    """
    parts = _needed_parts(files)
    for file in parts:
        if not _has_sink_names(file, job):
            msg = f"{file.staged!r} -> {file.final!r} are no file names of a sink of {job}"
            raise UsageError(msg)
    try:
        with pinned_directory(directory, root) as out, _staging(out, job) as staging:
            folder = _Folder(directory, out, staging)
            _publish(parts, folder, overwrite=overwrite, rename=rename)
    except FileNotFoundError as error:
        if error.filename == str(directory) and parts:
            raise _missing(directory / parts[0].staged, parts[0]) from error
        raise
    abort(directory, job, root=root)
    return tuple(file.final for file in parts)


@dataclass(frozen=True, slots=True)
class _Folder:
    """An output directory: its name, and the paths of it and of its staging directory."""

    shown: Path
    out: Path
    staging: Path | None

    def staged(self, file: SinkFile) -> Path | None:
        """Return the path of a staged file, None if it is not staged."""
        if self.staging is None:
            return None
        path = self.staging / file.staged.partition("/")[2]
        if path.is_symlink():
            raise _is_link(self.shown / file.staged, file)
        return path if path.exists() else None


@contextmanager
def _staging(out: Path, job: str) -> Iterator[Path | None]:
    """Open the staging directory of a job, None if there is none."""
    with ExitStack() as stack:
        staging: Path | None = None
        with suppress(FileNotFoundError, NotADirectoryError):
            staging = stack.enter_context(subdirectory(out, f"{_STAGING}{job}"))
        yield staging


def _publish(
    parts: Sequence[SinkFile], folder: _Folder, *, overwrite: bool, rename: Rename
) -> None:
    staged = {file: path for file in parts if (path := folder.staged(file)) is not None}
    success = folder.out / _SUCCESS
    if not staged and success.exists():
        return
    _check_names(parts, staged, folder, overwrite=overwrite)
    success.unlink(missing_ok=True)
    if overwrite:
        _remove_old_parts(folder.out, keep={file.final for file in parts})
    for file, path in staged.items():
        _sync(path)
        rename(path, folder.out / file.final)
        if (folder.out / file.final).is_symlink():
            (folder.out / file.final).unlink(missing_ok=True)
            raise _is_link(folder.shown / file.staged, file)
    # A file that was withdrawn meanwhile must not leave output that looks whole.
    _check_names(parts, (), folder, overwrite=overwrite)
    _sync(folder.out)
    _mark(success)
    _sync(folder.out)


def withdraw(
    files: Sequence[SinkFile], *, directory: Path, job: str, root: Path | None = None
) -> None:
    """Remove what a failed commit has published: output exists as a whole or not at all.

    A file that is still staged was not published: the file under its final name is another one.
    """
    parts = [file for file in _needed_parts(files) if _has_sink_names(file, job)]
    with (
        suppress(FileNotFoundError),
        pinned_directory(directory, root) as out,
        _staging(out, job) as staging,
    ):
        published = [
            out / file.final
            for file in parts
            if (out / file.final).exists()
            and not (staging and (staging / file.staged.partition("/")[2]).exists())
        ]
        if published:
            (out / _SUCCESS).unlink(missing_ok=True)
        for path in published:
            path.unlink(missing_ok=True)


def abort(directory: Path, job: str, *, root: Path | None = None) -> None:
    """Remove the staged files of ``job``, and the directories that it made, if they are empty.

    Files that cannot be removed are no error.
    """
    name = f"{_STAGING}{job}"
    levels = 0
    with suppress(OSError, UsageError), pinned_directory(directory, root) as out:
        with suppress(OSError), subdirectory(out, name) as staging:
            levels = _levels(path.name for path in staging.iterdir())
        shutil.rmtree(out / name, ignore_errors=True)
    _remove_made(directory, root, levels)


def _needed_parts(files: Sequence[SinkFile]) -> list[SinkFile]:
    """Return the files that have rows, in order, or the first if none has."""
    ordered = sorted(files, key=lambda file: (len(file.final), file.final))
    return [file for file in ordered if file.rows] or ordered[:1]


def _has_sink_names(file: SinkFile, job: str) -> bool:
    """Whether the names of a file, which a worker reported, are those of a sink of the job."""
    match = _STAGED_PART.fullmatch(file.staged)
    if match is None:
        return False
    try:
        key = TaskKey.parse(match["block"])
    except ValueError:
        return False
    return key.job == job and _names(key, match["format"]) == (file.staged, file.final)


def _check_names(
    parts: Sequence[SinkFile], staged: Collection[SinkFile], folder: _Folder, *, overwrite: bool
) -> None:
    """Refuse a file that is neither staged nor published, and a final name that is taken."""
    for file in parts:
        published = os.path.lexists(folder.out / file.final)
        if file not in staged and not published:
            raise _missing(folder.shown / file.staged, file)
        if file in staged and published and not overwrite:
            path = folder.shown / file.final
            msg = f"{path} appeared while the job ran"
            raise UsageError(msg, code="MS-122", file=str(path))


def _is_link(staged: Path, file: SinkFile) -> UsageError:
    msg = f"{staged} is a link, not a file that a task wrote"
    return UsageError(msg, code="MS-122", file=file.staged)


def _missing(staged: Path, file: SinkFile) -> FileNotFoundError:
    return FileNotFoundError(f"{staged} is gone and {file.final} was not published")


def _remove_old_parts(directory: Path, *, keep: set[str]) -> None:
    for path in directory.iterdir():
        if _PART.fullmatch(path.name) and path.name not in keep and path.is_file():
            path.unlink(missing_ok=True)


def _mark(success: Path) -> None:
    os.close(os.open(success, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
