"""Copies a whole block from another worker, before that worker leaves.

::

    same host and user          ->  a second name of the same file, or a copy on another disk
    another host, or no file    ->  HTTP from the worker that has the block

Nothing is verified here: every reader of a block checks its bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2

from minispark.blocks.fetch import FetchSettings, block_client, block_request
from minispark.blocks.host import open_own, own_directory
from minispark.blocks.meta import DATA_SUFFIX, BlockUnavailable
from minispark.ids import TaskKey

_CHUNK_BYTES = 1 << 20


def copy_block(
    key: TaskKey,
    *,
    size: int,
    host: str,
    directory: str,
    url: str,
    into: Path,
    settings: FetchSettings,
    kept: TaskKey | None = None,
) -> None:
    """Put the block of ``key`` into the directory ``into``, unless it is there already.

    ``kept`` is the name of the block in the cache of the other worker, if it is cached.

    Raises
    ------
    BlockUnavailable
        The worker that has the block does not deliver it.
    OSError
        The disk here is full or refuses.
    """
    target = into / f"{key.block_id}{DATA_SUFFIX}"
    if size == 0 or target.exists():
        return  # A block without bytes has no file.
    name = kept or key
    local = settings.may_map and host == settings.host
    if not local or not _link(Path(directory), f"{name.block_id}{DATA_SUFFIX}", target):
        _download(key, name, size, url, target, settings)


def _link(directory: Path, source: str, target: Path) -> bool:
    """Link or copy a file of this host; return False if this process may not read it."""
    try:
        with own_directory(directory) as descriptor, contextlib.suppress(FileExistsError):
            # A cached block may be a link into memory: the target of the link is meant.
            os.link(source, target, src_dir_fd=descriptor, follow_symlinks=True)
    except OSError:
        try:
            with (
                os.fdopen(open_own(directory, source), "rb") as data,
                _staged(target) as staged,
                staged.open("wb") as copy,
            ):
                shutil.copyfileobj(data, copy)
        except (FileNotFoundError, PermissionError):
            return False
    return True


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Give a temporary name, and rename the file to its target if the block ends without error."""
    staged = target.with_name(f"{target.name}.tmp")
    try:
        yield staged
        staged.rename(target)
    finally:
        staged.unlink(missing_ok=True)


def _download(
    key: TaskKey, name: TaskKey, size: int, url: str, target: Path, settings: FetchSettings
) -> None:
    if not url:
        raise BlockUnavailable(key, "no worker serves it")
    address, headers = block_request(url, name, settings)
    try:
        with (
            _staged(target) as staged,
            block_client(settings).stream("GET", address, headers=headers) as response,
        ):
            announced = response.headers.get("Content-Length")
            if response.status_code != httpx2.codes.OK or announced != str(size):
                answer = f"{response.status_code} and {announced} bytes, not {size}"
                raise BlockUnavailable(key, f"{url} answered {answer}")
            with staged.open("wb") as file:
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    file.write(chunk)
    except httpx2.HTTPError as error:
        reason = f"{url} does not deliver: {type(error).__name__} {error}"
        raise BlockUnavailable(key, reason) from error
