"""Loads settings from the environment and files, once; nothing else reads the environment.

Covers: the state directory, the shared secret, and how a client or worker finds the master.
Does not cover: the options of a command (`minispark.cli`), policies (`minispark.settings`).

On disk::

    <state dir>/            0700
      token                 0600  the shared secret, made on first start
      master.json           0600  URL of the running master, where its token and certificate lie
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from minispark.errors import UsageError

PRIVATE = frozenset({"MINISPARK_TOKEN"})
"""Variables that processes which run other people's plans do not inherit."""
DEFAULT_MASTER = "http://127.0.0.1:8080"
_YES = frozenset({"1", "true", "yes", "on"})
_TOKEN_BYTES = 32
_OTHERS_WRITE = 0o022
_MAX_FILE_BYTES = 64 * 1024
"""A token or discovery file is a few hundred bytes; more is not ours."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a running master says of itself to programs of the same user."""

    url: str
    token_file: str
    pid: int
    ca_file: str | None = None
    """The certificate that it shows; whoever may read this file may trust it."""


def state_dir() -> Path:
    """Return the per-user state directory; does not create it."""
    named = os.environ.get("MINISPARK_STATE_DIR")
    return Path(named) if named else Path(platformdirs.user_state_dir("minispark"))


def secure_dir(path: Path) -> Path:
    """Create ``path`` for this user alone, or check that it is.

    Raises
    ------
    UsageError
        The path is a symlink, no directory, or it or its parent belongs to somebody else: what
        lies there could be read or exchanged.
    """
    parent = path.absolute().parent
    _check_owner(path, next(place for place in (parent, *parent.parents) if os.path.lexists(place)))
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _unsafe(parent, "is not a directory") from None
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise _unsafe(path, "is a symbolic link")
    if not stat.S_ISDIR(found.st_mode):
        raise _unsafe(path, "is not a directory")
    if found.st_uid != os.getuid():
        raise _unsafe(path, "belongs to another user")
    _check_owner(path, parent)
    if stat.S_IMODE(found.st_mode) & _OTHERS_WRITE:
        _check_planted(path)
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def _check_owner(path: Path, above: Path) -> None:
    # Before anything is made: what another user has put in the way may lead to any place.
    try:
        owners = {above.stat().st_uid, above.lstat().st_uid}
    except FileNotFoundError:
        raise _unsafe(above, "is a symbolic link that leads nowhere") from None
    if owners - {0, os.getuid()}:
        raise _unsafe(path, "lies in a directory that belongs to another user")


def _check_planted(path: Path) -> None:
    """Refuse a directory that was open to others if one of them has put something there."""
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
    """Return the shared secret: environment, token file, or the running master's token file.

    MINISPARK_TOKEN is the secret itself, MINISPARK_TOKEN_FILE names a file that holds it.
    With ``create`` it is made where there is none yet; two processes that start at once agree.
    """
    given = os.environ.get("MINISPARK_TOKEN")
    if given:
        return given.strip()
    named = os.environ.get("MINISPARK_TOKEN_FILE")
    if named:
        return read_token_file(Path(named))
    if create:
        return _create_token(secure_dir(state))
    own = _read_private(state / "token")
    if own is not None:
        return own.strip() or None
    found = find_discovery(state)
    if found is None:
        return None
    with contextlib.suppress(OSError):
        return read_token_file(Path(found.token_file))
    return None


def token_is_given() -> bool:
    """Whether the environment names the shared secret, so that it may be of another account."""
    return bool(os.environ.get("MINISPARK_TOKEN") or os.environ.get("MINISPARK_TOKEN_FILE"))


def token_place(state: Path) -> str:
    """Say where `find_token` finds the secret that a master makes or is given."""
    if os.environ.get("MINISPARK_TOKEN"):
        return "that of MINISPARK_TOKEN"
    return os.environ.get("MINISPARK_TOKEN_FILE") or str(state / "token")


def read_token_file(path: Path) -> str:
    """Read a token file that the user named; mounted secrets may have any owner and mode."""
    with path.open() as file:
        token = file.read(_MAX_FILE_BYTES).strip()
    if not token:
        msg = f"the token file {path} is empty"
        raise UsageError(msg, code="MS-103", file=str(path))
    return token


def find_master() -> str:
    """Return the master's URL: environment, the running master of this user, or the default."""
    for name in ("MINISPARK_MASTER", "MASTER_URL"):
        url = os.environ.get(name)
        if url:
            return url.rstrip("/")
    found = find_discovery(state_dir())
    return found.url if found is not None else DEFAULT_MASTER


def allows_clear_text(url: str) -> bool:
    """Whether a token may go to a URL in clear text beyond this machine.

    Somebody said so, or the master there is one of this user on this very machine.
    """
    if os.environ.get("MINISPARK_INSECURE", "").strip().lower() in _YES:
        return True
    found = find_discovery(state_dir())
    return found is not None and found.url == url.rstrip("/")


def find_ca_file(url: str) -> str | None:
    """Return the certificates to trust in place of the system's: environment, or the master's own.

    Its own is taken of a master of this user only, and only at its very address.
    """
    given = os.environ.get("MINISPARK_CA_FILE")
    if given:
        return given
    found = find_discovery(state_dir()) if url.startswith("https:") else None
    return found.ca_file if found is not None and found.url == url.rstrip("/") else None


def find_discovery(state: Path) -> Discovery | None:
    """Read the discovery file of this user, if a master wrote one."""
    text = _read_private(state / "master.json")
    if text is None:
        return None
    try:
        found = json.loads(text)
        ca_file = found.get("ca_file")
        return Discovery(
            str(found["url"]),
            str(found["token_file"]),
            int(found["pid"]),
            None if ca_file is None else str(ca_file),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def advertise(url: str, *, state: Path, token_file: Path, ca_file: Path | None = None) -> None:
    """Write the discovery file, so that programs of the same user find this master."""
    found = Discovery(
        url, str(token_file), os.getpid(), None if ca_file is None else str(ca_file.absolute())
    )
    write_private(secure_dir(state) / "master.json", json.dumps(asdict(found)))


def withdraw(url: str, *, state: Path) -> None:
    """Remove the discovery file, unless another master has written its own since."""
    found = find_discovery(state)
    if found is not None and found.url == url and found.pid == os.getpid():
        (state / "master.json").unlink(missing_ok=True)


def _create_token(state: Path) -> str:
    path = state / "token"
    present = _read_private(path)
    if present is not None and present.strip():
        return present.strip()
    staged = state / f".token.{os.getpid()}.{secrets.token_hex(4)}"
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    write_private(staged, token + "\n")
    try:
        # A link fails where the name exists: of two first starts one wins, the other reads it.
        path.hardlink_to(staged)
    except FileExistsError:
        made = (_read_private(path) or "").strip()
        if not made:
            path.unlink(missing_ok=True)
            return _create_token(state)
        return made
    finally:
        staged.unlink(missing_ok=True)
    return token


def _read_private(path: Path) -> str | None:
    """Read a file that must be ours alone; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unsafe(path, "is a symbolic link or cannot be read") from error
    with os.fdopen(descriptor) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _unsafe(path, "is not a plain file")
        if found.st_uid != os.getuid():
            raise _unsafe(path, "belongs to another user")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise _unsafe(path, "may be read by other users")
        return file.read(_MAX_FILE_BYTES)


def _unsafe(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} {why}: Mini-Spark keeps its secret and state only where nobody else can reach",
        code="MS-102",
        file=str(path),
        hint="Remove it, or name another place with MINISPARK_STATE_DIR.",
    )
