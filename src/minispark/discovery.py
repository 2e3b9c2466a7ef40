"""How programs of a user find the masters of this user, and the secret of each.

Covers: the discovery files, and the master, token and certificate that they name. Does not cover:
the secret of a state directory (`minispark.config`), how a server is asked (`minispark.engines`).

On disk; every file is 0600, and its master keeps a lock on it for as long as it runs::

    <state dir of a master>/
      master.json               the master of this directory
    <state dir of the user>/
      masters/<digest>.json     the same, for each state directory of this user

Each master has files of its own names, so none overwrites or removes those of another. A file
without a lock is that of a master that has ended. It still says which secret the master at this
address had, and will have when it is started again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from minispark import config
from minispark.errors import UsageError
from minispark.wire.addresses import has_scheme, master_url, server_of

DEFAULT_MASTER = "http://127.0.0.1:8080"
_FILE = "master.json"
_REGISTRY = "masters"
_YES = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a master writes for programs of the same user."""

    url: str
    token_file: str | None
    """The file of its secret; None if the environment gave the secret."""
    pid: int
    ca_file: str | None = None
    """The certificate of the master, which programs of this user trust."""
    running: bool = True
    """Whether its master runs; a reader sees it from the lock."""


def find_master() -> str:
    """Return the URL of the master: environment, running master of this user, or the default.

    Raises
    ------
    UsageError
        Several masters of this user run, none of them where a master is expected.
    """
    for name in ("MINISPARK_MASTER", "MASTER_URL"):
        url = os.environ.get(name)
        if url:
            return resolve(url)
    own = find_discovery(config.state_dir())
    if own is not None and own.running:
        return own.url
    urls = [master.url for master in running_masters()]
    if DEFAULT_MASTER in urls:
        return DEFAULT_MASTER
    if len(urls) > 1:
        msg = f"several masters of this user run: {', '.join(urls)}"
        hint = "Name one with --master URL or MINISPARK_MASTER."
        raise UsageError(msg, code="MS-504", hint=hint)
    if urls:
        return urls[0]
    return DEFAULT_MASTER if own is None else own.url


def resolve(text: str) -> str:
    """Return the URL of an address that a user wrote, with the scheme of the master there."""
    url = None if has_scheme(text) else _guess(text)
    if url is not None:
        server = server_of(url)
        for master in _masters():
            if server_of(master.url) == server:
                return master.url
    return master_url(text)


def find_token(url: str, state: Path, *, create: bool = False) -> str | None:
    """Return the secret for the master at a URL.

    It is that of the environment, of the master of this user at the URL, or of the directory
    ``state``. With ``create`` a missing secret is created there.
    """
    if not config.token_is_given():
        for master in masters_at(url):
            if master.token_file is not None:
                with contextlib.suppress(OSError):
                    return config.read_token_file(Path(master.token_file))
    return config.find_token(state, create=create)


def token_sources(url: str, state: Path) -> str:
    """Return where `find_token` looks for a secret, for messages."""
    files = [master.token_file for master in masters_at(url) if master.token_file is not None]
    return ", ".join(dict.fromkeys(["MINISPARK_TOKEN", *files, str(state / "token")]))


def allows_clear_text(url: str) -> bool:
    """Whether a token may be sent in clear text to a URL that is not on loopback.

    That is so if the environment allows it, or if a master of this user runs there.
    """
    if os.environ.get("MINISPARK_INSECURE", "").strip().lower() in _YES:
        return True
    return any(master.url == url for master in masters_at(url))


def find_ca_file(url: str) -> str | None:
    """Return the file of certificates to trust instead of the system's, None if there is none.

    The environment names it, or it is the certificate of a master of this user at this URL.
    """
    file = os.environ.get("MINISPARK_CA_FILE")
    if file:
        return file
    if not url.startswith("https:"):
        return None
    return next((master.ca_file for master in masters_at(url) if master.ca_file), None)


def masters_at(url: str) -> list[Discovery]:
    """Return the masters of this user at a URL: running ones first, then the very same URL."""
    server = server_of(url)
    found = [master for master in _masters() if server_of(master.url) == server]
    return sorted(found, key=lambda master: (not master.running, master.url != url))


def running_masters() -> list[Discovery]:
    """Return the masters that this user runs on this machine, by URL.

    If the environment names a state directory, that is only the master of this directory.
    """
    isolated = config.state_dir() != config.user_dir()
    masters = [find_discovery(config.state_dir())] if isolated else _masters()
    running = {each.url: each for each in masters if each is not None and each.running}
    return [running[url] for url in sorted(running)]


def find_discovery(state: Path) -> Discovery | None:
    """Return the master of a state directory, None if none has written a file there."""
    return _read(state / _FILE)


@contextmanager
def advertised(discovery: Discovery, *, state: Path, registry: Path | None) -> Iterator[None]:
    """Show a master to programs of the same user within the block.

    ``registry`` is the state directory of the user; a master that cannot write there is found in
    its own directory only.
    """
    with contextlib.ExitStack() as files:
        if registry is not None:
            with contextlib.suppress(OSError, UsageError):
                masters = config.secure_dir(config.secure_dir(registry) / _REGISTRY)
                _remove_useless(masters)
                digest = hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:16]
                files.enter_context(_locked_file(masters / f"{digest}.json", discovery))
        # Last, since a reader that waits for this file expects the master to be complete.
        files.enter_context(_locked_file(config.secure_dir(state) / _FILE, discovery))
        yield


def _guess(text: str) -> str | None:
    try:
        return master_url(f"http://{text.strip()}")
    except UsageError:
        return None


def _masters() -> list[Discovery]:
    paths = [config.state_dir() / _FILE, *_registered(config.user_dir() / _REGISTRY)]
    return [master for master in map(_read_or_none, paths) if master is not None]


def _registered(masters: Path) -> list[Path]:
    try:
        return sorted(path for path in masters.iterdir() if path.suffix == ".json")
    except OSError:
        return []


def _read_or_none(path: Path) -> Discovery | None:
    with contextlib.suppress(UsageError):
        return _read(path)
    return None


def _read(path: Path) -> Discovery | None:
    with config.private_file(path) as file:
        if file is None:
            return None
        text, running = file.read(config.MAX_FILE_BYTES), _is_locked(file.fileno())
    try:
        fields = json.loads(text)
        token_file, ca_file = fields["token_file"], fields.get("ca_file")
        discovery = Discovery(
            master_url(str(fields["url"])),
            None if token_file is None else str(token_file),
            int(fields["pid"]),
            None if ca_file is None else str(ca_file),
        )
    except (ValueError, TypeError, KeyError, AttributeError, UsageError):
        return None
    return replace(discovery, running=running)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # A file system without locks cannot say so.
        return True
    return False


@contextmanager
def _locked_file(path: Path, discovery: Discovery) -> Iterator[None]:
    """Have a locked discovery file within the block; it is complete when it gets its name."""
    fields = asdict(discovery)
    del fields["running"]
    staged = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(json.dumps(fields))
            file.flush()
            staged.replace(path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(path.lstat(), os.fstat(file.fileno())):
                    path.unlink()


def _remove_useless(masters: Path) -> None:
    """Remove files of masters that have ended and whose secret is gone too."""
    for path in _registered(masters):
        master = _read_or_none(path)
        if master is None or master.running:
            continue
        if master.token_file is None or not Path(master.token_file).exists():
            path.unlink(missing_ok=True)
