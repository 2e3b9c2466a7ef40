"""Files and directories that are opened once, beneath a root, without following a link meanwhile.

A path that was checked may lead elsewhere a moment later: a file, or a directory above it, is
replaced by a link. So a path is resolved first (a link in the root may lead to another place in
it), and then opened component by component, each beneath the descriptor of the one before and none
of them a link. What is done afterwards is done by the descriptor.

``/proc/self/fd/N`` is a path that leads to what a descriptor has open, also for a library that
takes paths only. Where the system has no such paths, the path itself is used.

Covers: opening. Does not cover: libraries that open paths by themselves (plans of Polars that name
files, SQL), the master's planner.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minispark.errors import UsageError

DESCRIPTORS = Path("/proc/self/fd")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe that no process writes to must not make the reader wait.
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def open_file(path: Path, root: Path) -> int:
    """Return a descriptor of a regular file beneath a root.

    Raises
    ------
    UsageError
        It lies outside, or has just been replaced by a link.
    OSError
        It cannot be opened.
    """
    parts = _parts(path, root)
    if not parts:
        raise outside(path)
    directory, _ = _walk(parts[:-1], root, path)
    try:
        descriptor = os.open(parts[-1], _FILE | os.O_NOFOLLOW, dir_fd=directory)
    except OSError as error:
        raise _meaning(error, parts[-1], directory, path) from error
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def make_directory(path: Path, root: Path | None) -> int:
    """Make a directory, with those above it, and return how many were made.

    Raises
    ------
    UsageError
        It lies outside the root.
    OSError
        It cannot be made.
    """
    if root is None:
        missing = [one for one in (path, *path.parents) if not one.exists()]
        path.mkdir(parents=True, exist_ok=True)
        return len(missing)
    directory, made = _walk(_parts(path, root), root, path, make=True)
    os.close(directory)
    return made


@contextmanager
def pinned_directory(path: Path, root: Path | None) -> Iterator[Path]:
    """Open a directory and give a path that leads to it, whatever its own name leads to meanwhile.

    Without a root links are followed once, when it is opened.

    Raises
    ------
    UsageError
        It lies outside the root.
    FileNotFoundError
        There is none.
    """
    if root is None:
        descriptor = os.open(path, _DIRECTORY)
    else:
        descriptor, _ = _walk(_parts(path, root), root, path)
    try:
        yield _by_descriptor(descriptor, path)
    finally:
        os.close(descriptor)


@contextmanager
def subdirectory(pinned: Path, name: str) -> Iterator[Path]:
    """Open a directory in one that is pinned; a link in its place is none.

    Raises
    ------
    FileNotFoundError
        There is none.
    NotADirectoryError
        There is something else, or a link.
    """
    descriptor = os.open(pinned / name, _DIRECTORY | os.O_NOFOLLOW)
    try:
        yield _by_descriptor(descriptor, pinned / name)
    finally:
        os.close(descriptor)


def _by_descriptor(descriptor: int, path: Path) -> Path:
    return DESCRIPTORS / str(descriptor) if DESCRIPTORS.is_dir() else path


def _parts(path: Path, root: Path) -> tuple[str, ...]:
    """Return the components of where a path leads, from the root on."""
    try:
        resolved = path.resolve()
        return resolved.relative_to(root.resolve()).parts
    except (RuntimeError, ValueError):  # A circle of links, or a place outside.
        raise outside(path) from None


def _walk(parts: tuple[str, ...], root: Path, path: Path, *, make: bool = False) -> tuple[int, int]:
    """Return a descriptor of the last of some nested directories, and how many were made."""
    directory, made = os.open(root.resolve(), _DIRECTORY), 0
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=directory)
                    made += 1
            try:
                below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            except OSError as error:
                raise _meaning(error, part, directory, path) from error
            os.close(directory)
            directory = below
    except BaseException:
        os.close(directory)
        raise
    return directory, made


def _meaning(error: OSError, name: str, directory: int, path: Path) -> Exception:
    """Return what an error means: a link in the place of what was resolved leads elsewhere now."""
    with suppress(OSError):
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return outside(path)
    return OSError(error.errno, error.strerror, str(path))


def outside(path: Path) -> UsageError:
    """Return the error for a path that leads out of the data root."""
    return UsageError(
        f"{path} lies outside the data root",
        code="MS-123",
        file=str(path),
        hint="Give a path under the directory that --data-root names.",
    )
