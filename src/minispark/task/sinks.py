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

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl

from minispark.blocks.checksums import rows_checksum
from minispark.errors import MinisparkError, UsageError
from minispark.ids import TaskKey
from minispark.plan.stages import SinkSpec
from minispark.task.path_sandbox import is_inside
from minispark.task.safe_open import make_directory, outside, pinned_directory, subdirectory
from minispark.task.spec import SinkFile

_SUCCESS = "_SUCCESS"
_STAGING = "_minispark-"
_MADE = "made-"
"""Begin of a name in the staging directory: how many directories were made for the output."""
_FORMATS: dict[str, Callable[[pl.DataFrame, IO[bytes]], object]] = {
    "csv": lambda frame, file: frame.write_csv(file),
    "jsonl": lambda frame, file: frame.write_ndjson(file),
    "parquet": lambda frame, file: frame.write_parquet(file),
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
        raise outside(Path(sink.path))
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
    directory, root = sink_directory(sink, data_root), _root(data_root)
    try:
        try:
            size = _stage(frame, write, sink, key, directory, root)
        except FileNotFoundError:
            # Another attempt has just removed the folder, which was empty (`discard_part`).
            size = _stage(frame, write, sink, key, directory, root)
    except BaseException:
        with suppress(OSError, MinisparkError):
            discard_part(sink, key=key, data_root=data_root)
        raise
    folder, name = _staged(sink, key)
    final = f"part-{key.partition:05d}.{sink.format}"
    return SinkFile(f"{folder}/{name}", final, frame.height, size, rows_checksum(frame))


def _stage(
    frame: pl.DataFrame,
    write: Callable[[pl.DataFrame, IO[bytes]], object],
    sink: SinkSpec,
    key: TaskKey,
    directory: Path,
    root: Path | None,
) -> int:
    """Write a staged file and return its size."""
    folder, name = _staged(sink, key)
    made = make_directory(directory, root)
    with pinned_directory(directory, root) as out:
        (out / folder).mkdir(exist_ok=True)
        with subdirectory(out, folder) as staging:
            if made:
                (staging / f"{_MADE}{made}").touch()
            path = staging / name
            path.unlink(missing_ok=True)
            # A name that is taken, perhaps by a link, is not written to.
            with path.open("xb") as file:
                write(frame, file)
                file.flush()
                return os.fstat(file.fileno()).st_size


def discard_part(sink: SinkSpec, *, key: TaskKey, data_root: str | None) -> None:
    """Remove what an attempt staged that no commit will publish.

    It may be late and its job over, so its staging directory goes too, once nothing is in it.
    """
    directory, root = sink_directory(sink, data_root), _root(data_root)
    folder, name = _staged(sink, key)
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


def _staged(sink: SinkSpec, key: TaskKey) -> tuple[str, str]:
    """Return the names of an attempt's folder and file."""
    return f"{_STAGING}{key.job}", f"part-{key.partition:05d}.{key.block_id}.{sink.format}"


def _root(data_root: str | None) -> Path | None:
    return None if data_root is None else Path(data_root)


def _levels(marks: Iterable[str]) -> int:
    """Return how many directories the job has made, by the marks in its staging directory."""
    numbers = (mark.removeprefix(_MADE) for mark in marks if mark.startswith(_MADE))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _remove_made(directory: Path, root: Path | None, levels: int) -> None:
    """Remove directories that a job made for its output, from the lowest up, if they are empty."""
    for path in (directory, *directory.parents)[:levels]:
        if path == root:
            return
        try:
            with pinned_directory(path.parent, root) as above:
                (above / path.name).rmdir()
        except (OSError, UsageError):
            return


def prepare(directory: Path, *, overwrite: bool) -> None:
    """Check, before a job starts, that it may write to ``directory``.

    Raises
    ------
    UsageError
        It is a file, cannot be made, or holds something and ``overwrite`` is not given.
    """
    if not directory.exists():
        _check_above(directory)
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


def _check_above(directory: Path) -> None:
    """Refuse a directory that cannot be made: a link or a file is in the way."""
    for path in (directory, *directory.parents):
        if path.is_dir():
            return
        if path.is_symlink():
            what = "is a link that leads nowhere"
        elif path.exists():
            what = "is a file, not a directory"
        else:
            continue
        name = "the output" if path == directory else f"the output {directory} cannot be made:"
        hint = "Remove it, or name another directory."
        raise UsageError(f"{name} {path} {what}", code="MS-120", file=str(path), hint=hint)


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

    Parts that an earlier job left are removed with ``overwrite``, other files never. The first
    thing to go is an old ``_SUCCESS``, the last to come is the new one. With a ``root`` nothing
    outside it is touched, whatever becomes a link meanwhile.

    Raises
    ------
    UsageError
        A final name is taken although nothing may be overwritten, a name is none of ours, or the
        directory lies outside the root.
    FileNotFoundError
        A file is neither staged nor published.
    """
    kept = _kept(files)
    for file in kept:
        _check_names(file, job)
    try:
        with pinned_directory(directory, root) as out, _staging(out, job) as staging:
            folder = _Folder(directory, out, staging)
            _publish(kept, folder, overwrite=overwrite, rename=rename)
    except FileNotFoundError as error:
        if error.filename == str(directory) and kept:
            raise _is_gone(directory / kept[0].staged, kept[0]) from error
        raise
    abort(directory, job, root=root)
    return tuple(file.final for file in kept)


@dataclass(frozen=True, slots=True)
class _Folder:
    """An output directory: as it is called, and by its descriptor, with its staging directory."""

    shown: Path
    out: Path
    staging: Path | None

    def staged(self, file: SinkFile) -> Path | None:
        """Return where a file is staged, None where it is not."""
        if self.staging is None:
            return None
        path = self.staging / file.staged.partition("/")[2]
        if path.is_symlink():
            raise _is_link(self.shown / file.staged, file)
        return path if path.exists() else None

    def published(self, file: SinkFile) -> bool:
        """Whether there is anything under a file's final name."""
        return os.path.lexists(self.out / file.final)


@contextmanager
def _staging(out: Path, job: str) -> Iterator[Path | None]:
    """Open the staging directory of a job, None where there is none."""
    with ExitStack() as stack:
        try:
            found: Path | None = stack.enter_context(subdirectory(out, f"{_STAGING}{job}"))
        except (FileNotFoundError, NotADirectoryError):
            found = None
        yield found


def _publish(kept: Sequence[SinkFile], folder: _Folder, *, overwrite: bool, rename: Rename) -> None:
    staged = {file: path for file in kept if (path := folder.staged(file)) is not None}
    success = folder.out / _SUCCESS
    if not staged and success.exists():
        return
    _check_published(kept, staged, folder, overwrite=overwrite)
    success.unlink(missing_ok=True)
    if overwrite:
        _remove_old_parts(folder.out, keep={file.final for file in kept})
    for file, path in staged.items():
        _sync(path)
        rename(path, folder.out / file.final)
        if (folder.out / file.final).is_symlink():
            (folder.out / file.final).unlink(missing_ok=True)
            raise _is_link(folder.shown / file.staged, file)
    # What was taken back meanwhile leaves no output that looks whole.
    _check_published(kept, (), folder, overwrite=overwrite)
    _sync(folder.out)
    _mark(success)
    _sync(folder.out)


def withdraw(
    files: Sequence[SinkFile], *, directory: Path, job: str, root: Path | None = None
) -> None:
    """Take back what a commit that failed has published: output is there as a whole, or absent.

    A file that is still staged was not published: under its final name is a file of others.
    """
    named = [file for file in _kept(files) if _is_named_right(file, job)]
    with (
        suppress(FileNotFoundError),
        pinned_directory(directory, root) as out,
        _staging(out, job) as staging,
    ):
        waiting = {
            file
            for file in named
            if staging is not None and (staging / file.staged.partition("/")[2]).exists()
        }
        ours = [out / file.final for file in named if file not in waiting]
        published = [path for path in ours if path.exists()]
        if published:
            (out / _SUCCESS).unlink(missing_ok=True)
        for path in published:
            path.unlink(missing_ok=True)


def abort(directory: Path, job: str, *, root: Path | None = None) -> None:
    """Remove what attempts of ``job`` staged, and directories that they made, if they are empty.

    Nothing to remove is no error, nor what cannot be removed.
    """
    name = f"{_STAGING}{job}"
    levels = 0
    with suppress(OSError, UsageError), pinned_directory(directory, root) as out:
        with suppress(OSError), subdirectory(out, name) as staging:
            levels = _levels(path.name for path in staging.iterdir())
        shutil.rmtree(out / name, ignore_errors=True)
    _remove_made(directory, root, levels)


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
    kept: Sequence[SinkFile], staged: Collection[SinkFile], folder: _Folder, *, overwrite: bool
) -> None:
    for file in kept:
        final = folder.published(file)
        if file not in staged and not final:
            raise _is_gone(folder.shown / file.staged, file)
        if file in staged and final and not overwrite:
            path = folder.shown / file.final
            msg = f"{path} appeared while the job ran"
            raise UsageError(msg, code="MS-122", file=str(path))


def _is_link(staged: Path, file: SinkFile) -> UsageError:
    msg = f"{staged} is a link, not a file that a task wrote"
    return UsageError(msg, code="MS-122", file=file.staged)


def _is_gone(staged: Path, file: SinkFile) -> FileNotFoundError:
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
