"""Files and directories under a root, opened once without following a link that appears later.

A path that was checked may lead to another place a moment later: a file, or a directory above it,
is replaced by a link. So a path is resolved first (a link in the root may lead to another place in
it), and then opened component by component. Each component is opened relative to the descriptor of
the one before, and none may be a link. What is done afterwards is done by the descriptor.

``/proc/self/fd/N`` is a path to what a descriptor has open, also for a library that takes only
paths. If the system has no such paths, the path itself is used.

Covers: checking and opening. Does not cover: libraries that open paths themselves (plans of Polars
that name files, SQL), the master's planner.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minispark.errors import UsageError

DESCRIPTORS = Path("/proc/self/fd")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe that no process writes to must not make the reader wait.
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|.*://", re.DOTALL)


def is_url(path: str) -> bool:
    """Whether Polars may take a path for a URL."""
    return _SCHEME.match(path) is not None


def is_inside(path: str | Path, root: Path) -> bool:
    """Whether a path is under ``root``, both as written and with its links resolved.

    The file need not exist.
    """
    text = os.fspath(path)
    if "\0" in text or text.startswith("~") or is_url(text):
        return False
    base = root.absolute()
    resolved = base.resolve()
    written = Path(os.path.normpath(Path.cwd() / text))
    if not any(written.is_relative_to(start) for start in (base, resolved)):
        return False
    try:
        return Path(text).resolve().is_relative_to(resolved)
    except (OSError, RuntimeError, ValueError):
        # A circle of links, or a name that is too long for a file.
        return False


def outside_error(path: Path) -> UsageError:
    """Return the error for a path that leads out of the data root."""
    return UsageError(
        f"{path} is outside the data root",
        code="MS-123",
        file=str(path),
        hint="Use a path below the --data-root directory.",
    )


def open_file(path: Path, root: Path) -> int:
    """Return a descriptor of a regular file under a root.

    Raises
    ------
    UsageError
        The file is outside, or has just been replaced by a link.
    OSError
        The file cannot be opened.
    """
    parts = _parts(path, root)
    if not parts:
        raise outside_error(path)
    directory, _ = _walk(parts[:-1], root, path)
    try:
        descriptor = os.open(parts[-1], _FILE | os.O_NOFOLLOW, dir_fd=directory)
    except OSError as error:
        raise _open_error(error, parts[-1], directory, path) from error
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def make_directory(path: Path, root: Path | None) -> int:
    """Make a directory and those above it, and return how many were made.

    Raises
    ------
    UsageError
        The directory is outside the root.
    OSError
        The directory cannot be made.
    """
    if root is None:
        missing = [directory for directory in (path, *path.parents) if not directory.exists()]
        path.mkdir(parents=True, exist_ok=True)
        return len(missing)
    descriptor, count = _walk(_parts(path, root), root, path, make=True)
    os.close(descriptor)
    return count


@contextmanager
def pinned_directory(path: Path, root: Path | None) -> Iterator[Path]:
    """Open a directory and give a path that stays valid even if its name is replaced by a link.

    Without a root, links are followed once, when the directory is opened.

    Raises
    ------
    UsageError
        The directory is outside the root.
    FileNotFoundError
        The directory does not exist.
    """
    if root is None:
        descriptor = os.open(path, _DIRECTORY)
    else:
        descriptor, _ = _walk(_parts(path, root), root, path)
    try:
        yield _descriptor_path(descriptor, path)
    finally:
        os.close(descriptor)


@contextmanager
def subdirectory(pinned: Path, name: str) -> Iterator[Path]:
    """Open a directory in one that is pinned, and give a path to it.

    Raises
    ------
    FileNotFoundError
        The directory does not exist.
    NotADirectoryError
        The name is that of a link or of something else.
    """
    descriptor = os.open(pinned / name, _DIRECTORY | os.O_NOFOLLOW)
    try:
        yield _descriptor_path(descriptor, pinned / name)
    finally:
        os.close(descriptor)


def _descriptor_path(descriptor: int, path: Path) -> Path:
    return DESCRIPTORS / str(descriptor) if DESCRIPTORS.is_dir() else path


def _parts(path: Path, root: Path) -> tuple[str, ...]:
    """Return the components of a resolved path below the root."""
    try:
        return path.resolve().relative_to(root.resolve()).parts
    except (RuntimeError, ValueError):  # A circle of links, or a path outside.
        raise outside_error(path) from None


def _walk(parts: tuple[str, ...], root: Path, path: Path, *, make: bool = False) -> tuple[int, int]:
    """Return a descriptor of the last of some nested directories, and how many were made."""
    directory, count = os.open(root.resolve(), _DIRECTORY), 0
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=directory)
                    count += 1
            try:
                below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            except OSError as error:
                raise _open_error(error, part, directory, path) from error
            os.close(directory)
            directory = below
    except BaseException:
        os.close(directory)
        raise
    return directory, count


def _open_error(error: OSError, name: str, directory: int, path: Path) -> Exception:
    """Return the error to raise: a resolved component that is a link now leads out of the root."""
    with suppress(OSError):
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return outside_error(path)
    return OSError(error.errno, error.strerror, str(path))
