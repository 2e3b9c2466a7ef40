"""Files that a job delivers: written under staging names, published by the job's commit.

::

    <sink path>/
      _minispark-<job>/                  until the commit
        part-00003.<block id>.csv        one for each attempt that ended well
      part-00000.csv                     after it; names depend on the partition only
      _SUCCESS                           last

A commit may be cut short at any point and run again with the same files: the end is the same.
Nothing has a final name before it begins. An empty partition writes no file, but for partition
0, whose file tells the columns of an empty result; the commit leaves it out of any other.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from minispark.blocks.checksums import rows_checksum
from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.plan.stages import SinkSpec
from minispark.task.confine import is_inside
from minispark.task.spec import SinkFile

__all__ = ["abort", "commit", "discard_part", "prepare", "sink_directory", "withdraw", "write_part"]

_SUCCESS = "_SUCCESS"
_STAGING = "_minispark-"
_FORMATS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "csv": lambda frame, path: frame.write_csv(path),
    "jsonl": lambda frame, path: frame.write_ndjson(path),
    "parquet": lambda frame, path: frame.write_parquet(path),
}
_PART = re.compile(r"part-\d{5,}\.(csv|jsonl|parquet)")
_STAGED_PART = re.compile(r"(?P<part>part-\d{5,})\.(?P<block>.+)\.(?P<format>csv|jsonl|parquet)")

Rename = Callable[[Path, Path], object]


def sink_directory(sink: SinkSpec, data_root: str | None) -> Path:
    """Return where the files of a sink go; a relative path lies under the data root.

    Raises
    ------
    UsageError
        With a data root: the path leads out of it.
    """
    if data_root is None:
        return Path(sink.path)
    directory = Path(data_root) / sink.path
    if not is_inside(directory, Path(data_root)):
        raise UsageError(
            "the output lies outside the data root",
            code="MS-123",
            field="path",
            hint="Give a path under the directory that --data-root names.",
        )
    return directory


def write_part(
    frame: pl.DataFrame, sink: SinkSpec, *, key: TaskKey, data_root: str | None
) -> SinkFile | None:
    """Write an attempt's rows under its staging name; None where no file is needed.

    The names in the result are relative to the sink's directory.
    """
    if frame.height == 0 and key.partition > 0:
        return None
    write = _FORMATS.get(sink.format)
    if write is None:
        msg = f"cannot write files of format {sink.format!r}; known are {', '.join(_FORMATS)}"
        raise UsageError(msg)
    staged = _staged(sink, key)
    path = sink_directory(sink, data_root) / staged
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(frame, path)
        except FileNotFoundError:
            # Another attempt has just removed the folder, which was empty (`discard_part`).
            path.parent.mkdir(parents=True, exist_ok=True)
            write(frame, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    size = path.stat().st_size
    final = f"part-{key.partition:05d}.{sink.format}"
    return SinkFile(str(staged), final, frame.height, size, rows_checksum(frame))


def discard_part(sink: SinkSpec, *, key: TaskKey, data_root: str | None) -> None:
    """Remove what an attempt staged that nobody will publish; it may be late and its job over."""
    path = sink_directory(sink, data_root) / _staged(sink, key)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others have staged, or nobody has
        path.parent.rmdir()


def _staged(sink: SinkSpec, key: TaskKey) -> Path:
    name = f"part-{key.partition:05d}.{key.block_id}.{sink.format}"
    return Path(f"{_STAGING}{key.job}") / name


def prepare(directory: Path, *, overwrite: bool) -> None:
    """Check, before a job starts, that it may write to ``directory``.

    Raises
    ------
    UsageError
        It is a file, or holds something and ``overwrite`` is not given.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        msg = f"the output {directory} is a file, not a directory"
        raise UsageError(msg, code="MS-120", file=str(directory))
    if overwrite:
        return
    # What a killed job staged is no output.
    if any(not entry.name.startswith(_STAGING) for entry in directory.iterdir()):
        msg = f"the output directory {directory} is not empty"
        hint = "give overwrite, or name another directory"
        raise UsageError(msg, code="MS-121", file=str(directory), hint=hint)


def commit(
    files: Sequence[SinkFile],
    *,
    directory: Path,
    job: str,
    overwrite: bool,
    rename: Rename = Path.replace,
) -> tuple[str, ...]:
    """Publish the files of the accepted attempts and return their final names, in order.

    Parts that an earlier job left are removed with ``overwrite``, other files never. The first
    thing to go is an old ``_SUCCESS``, the last to come is the new one.

    Raises
    ------
    UsageError
        A final name is taken although nothing may be overwritten, or a name is none of ours.
    FileNotFoundError
        A file is neither staged nor published.
    """
    kept = _kept(files)
    for file in kept:
        _check_names(file, job)
        if (directory / file.staged).is_symlink():
            msg = f"{directory / file.staged} is a link, not a file that a task wrote"
            raise UsageError(msg, code="MS-122", file=file.staged)
    staged = [file for file in kept if (directory / file.staged).exists()]
    success = directory / _SUCCESS
    if staged or not success.exists():
        _check_published(kept, staged, directory, overwrite=overwrite)
        success.unlink(missing_ok=True)
        if overwrite:
            _remove_old_parts(directory, keep={file.final for file in kept})
        for file in staged:
            _sync(directory / file.staged)
            rename(directory / file.staged, directory / file.final)
        # Whoever took one back meanwhile leaves no output that looks whole.
        _check_published(kept, (), directory, overwrite=overwrite)
        _sync(directory)
        success.touch()
        _sync(directory)
    abort(directory, job)
    return tuple(file.final for file in kept)


def withdraw(files: Sequence[SinkFile], *, directory: Path, job: str) -> None:
    """Take back what a commit that failed has published: output is there as a whole, or absent.

    A file that is still staged was not published: under its final name is somebody else's.
    """
    named = [file for file in _kept(files) if _is_named_right(file, job)]
    ours = [file for file in named if not (directory / file.staged).exists()]
    published = [directory / file.final for file in ours if (directory / file.final).exists()]
    if published:
        (directory / _SUCCESS).unlink(missing_ok=True)
    for path in published:
        path.unlink(missing_ok=True)


def abort(directory: Path, job: str) -> None:
    """Remove what attempts of ``job`` staged; nothing to remove is no error."""
    shutil.rmtree(directory / f"{_STAGING}{job}", ignore_errors=True)


def _kept(files: Sequence[SinkFile]) -> list[SinkFile]:
    ordered = sorted(files, key=lambda file: (len(file.final), file.final))
    return [file for file in ordered if file.rows] or ordered[:1]


def _check_names(file: SinkFile, job: str) -> None:
    if not _is_named_right(file, job):
        msg = f"{file.staged!r} -> {file.final!r} are no file names of a sink of {job}"
        raise UsageError(msg)


def _is_named_right(file: SinkFile, job: str) -> bool:
    folder, _, name = file.staged.partition("/")
    match = _STAGED_PART.fullmatch(name)
    try:
        key = TaskKey.parse(match["block"]) if match else None
    except ValueError:
        key = None
    return (
        match is not None
        and key is not None
        and folder == f"{_STAGING}{job}"
        and key.job == job
        and file.final == f"{match['part']}.{match['format']}"
        and match["part"] == f"part-{key.partition:05d}"
    )


def _check_published(
    kept: Sequence[SinkFile], staged: Sequence[SinkFile], directory: Path, *, overwrite: bool
) -> None:
    waiting = set(staged)
    for file in kept:
        final = directory / file.final
        if file not in waiting and not final.exists():
            msg = f"{directory / file.staged} is gone and {file.final} was not published"
            raise FileNotFoundError(msg)
        if file in waiting and final.exists() and not overwrite:
            msg = f"{final} appeared while the job ran"
            raise UsageError(msg, code="MS-122", file=str(final))


def _remove_old_parts(directory: Path, *, keep: set[str]) -> None:
    for path in directory.iterdir():
        if _PART.fullmatch(path.name) and path.name not in keep and path.is_file():
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
