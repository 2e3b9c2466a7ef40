"""Reads settings from the environment and from files of the state directory.

Covers: the state directory, its private files and the shared secret.
Does not cover: how a client or worker finds the master (`minispark.discovery`), the options of a
command (`minispark.cli`), policies (`minispark.settings`).

On disk::

    <state dir>/            0700
      token                 0600  the shared secret, made on first start
      master.json masters/  see `minispark.discovery`
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import platformdirs

from minispark.errors import UsageError

PRIVATE = frozenset({"MINISPARK_TOKEN"})
"""Variables that processes with plans of other users do not inherit."""
_TOKEN_BYTES = 32
_OTHERS_WRITE = 0o022
MAX_FILE_BYTES = 64 * 1024
"""A token or discovery file has a few hundred bytes."""


def state_dir() -> Path:
    """Return the state directory of this process, without creating it."""
    return Path(os.environ.get("MINISPARK_STATE_DIR") or user_dir())


def user_dir() -> Path:
    """Return the state directory that this user has without any setting."""
    return Path(platformdirs.user_state_dir("minispark"))


def secure_dir(path: Path) -> Path:
    """Create the directory ``path`` for this user only, or check that it is, and return it.

    Raises
    ------
    UsageError
        The path is a symlink or no directory, or it or its parent belongs to another user, who
        could read or replace files in it.
    """
    parent = path.absolute().parent
    _check_owner(path, next(above for above in (parent, *parent.parents) if os.path.lexists(above)))
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _unsafe(parent, "is not a directory") from None
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise _unsafe(path, "is a symbolic link")
    if not stat.S_ISDIR(status.st_mode):
        raise _unsafe(path, "is not a directory")
    if status.st_uid != os.getuid():
        raise _unsafe(path, "belongs to another user")
    _check_owner(path, parent)
    if stat.S_IMODE(status.st_mode) & _OTHERS_WRITE:
        _check_entries(path)
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def _check_owner(path: Path, above: Path) -> None:
    # Before anything is created: a link of another user may lead to any directory.
    try:
        owners = {above.stat().st_uid, above.lstat().st_uid}
    except FileNotFoundError:
        raise _unsafe(above, "is a broken symbolic link") from None
    if owners - {0, os.getuid()}:
        raise _unsafe(path, "lies in a directory that belongs to another user")


def _check_entries(path: Path) -> None:
    """Refuse a directory that others could write to if it has an entry of another user."""
    for entry in path.iterdir():
        if entry.lstat().st_uid != os.getuid():
            raise _unsafe(entry, "belongs to another user")


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file in one step: a reader sees the old text or the new one."""
    staged = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    staged.touch(mode=0o600, exist_ok=False)
    try:
        staged.write_text(text)
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def find_token(state: Path, *, create: bool = False) -> str | None:
    """Return the shared secret of the environment, or of a state directory.

    MINISPARK_TOKEN is the secret itself, MINISPARK_TOKEN_FILE names a file that holds it. With
    ``create`` a missing secret is created; two processes that start at the same time use the same.
    """
    token = os.environ.get("MINISPARK_TOKEN")
    if token:
        return token.strip()
    file = os.environ.get("MINISPARK_TOKEN_FILE")
    if file:
        return read_token_file(Path(file))
    if create:
        return _create_token(secure_dir(state))
    return (_read_private(state / "token") or "").strip() or None


def token_is_given() -> bool:
    """Whether the environment names the shared secret, which then may be that of another user."""
    return bool(os.environ.get("MINISPARK_TOKEN") or os.environ.get("MINISPARK_TOKEN_FILE"))


def token_file(state: Path) -> Path | None:
    """Return the file in which `find_token` finds the secret, None if MINISPARK_TOKEN has it."""
    if os.environ.get("MINISPARK_TOKEN"):
        return None
    return Path(os.environ.get("MINISPARK_TOKEN_FILE") or state / "token").absolute()


def read_token_file(path: Path) -> str:
    """Return the token in a file that the user named; it may have any owner and mode."""
    with path.open() as file:
        token = file.read(MAX_FILE_BYTES).strip()
    if not token:
        msg = f"the token file {path} is empty"
        raise UsageError(msg, code="MS-103", file=str(path))
    return token


def _create_token(state: Path) -> str:
    path = state / "token"
    present = (_read_private(path) or "").strip()
    if present:
        return present
    staged = state / f".token.{os.getpid()}.{secrets.token_hex(4)}"
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    write_private(staged, token + "\n")
    try:
        # A link fails if the name exists: of two first starts one wins, the other reads its token.
        path.hardlink_to(staged)
    except FileExistsError:
        token = (_read_private(path) or "").strip()
        if not token:
            path.unlink(missing_ok=True)
            return _create_token(state)
    finally:
        staged.unlink(missing_ok=True)
    return token


def _read_private(path: Path) -> str | None:
    """Return the text of a file that only this user can read, None if there is no file."""
    with private_file(path) as file:
        return None if file is None else file.read(MAX_FILE_BYTES)


@contextmanager
def private_file(path: Path) -> Iterator[TextIO | None]:
    """Open a file that only this user can read; None if there is no file.

    Raises
    ------
    UsageError
        It is a link, or another user may read or replace it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError as error:
        raise _unsafe(path, "is a symbolic link or cannot be read") from error
    with os.fdopen(descriptor) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unsafe(path, "is not a plain file")
        if status.st_uid != os.getuid():
            raise _unsafe(path, "belongs to another user")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise _unsafe(path, "is readable by other users")
        yield file


def _unsafe(path: Path, problem: str) -> UsageError:
    return UsageError(
        f"{path} {problem}: Mini-Spark keeps its secret and state where no other user has access",
        code="MS-102",
        file=str(path),
        hint="Remove it, or set MINISPARK_STATE_DIR to another directory.",
    )
