"""Brings a whole block here that another worker has, before that one leaves.

::

    same host and user  ->  a second name of the same file, or a copy on another disk
    else, or no file    ->  HTTP from the worker that has it

Nothing is verified here: whoever reads a block checks its bytes, wherever they lie.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import httpx2

from minispark.blocks.errors import BlockUnavailable
from minispark.blocks.fetch import FetchSettings, block_client
from minispark.blocks.host import open_own, own_directory
from minispark.blocks.meta import DATA_SUFFIX
from minispark.ids import TaskKey

_CHUNK_BYTES = 1 << 20
_TEMPORARY = ".tmp"


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
    """Have the block of ``key`` in the directory ``into``; one that is there already stays.

    ``kept`` is the name under which it lies where it is, if a cache has it.

    Raises
    ------
    BlockUnavailable
        Its worker does not deliver it.
    OSError
        The disk here is full or refuses.
    """
    if size == 0 or (into / f"{key.block_id}{DATA_SUFFIX}").exists():
        return  # Without rows for anybody there is no file.
    name = kept or key
    if settings.may_map and host == settings.host and _link(key, name, Path(directory), into):
        return
    _download(key, name, size, url, into, settings)


def _link(key: TaskKey, name: TaskKey, directory: Path, into: Path) -> bool:
    source = f"{name.block_id}{DATA_SUFFIX}"
    target = into / f"{key.block_id}{DATA_SUFFIX}"
    try:
        with own_directory(directory) as place, contextlib.suppress(FileExistsError):
            # What a cache keeps may be a link into memory: its target is meant.
            os.link(source, target, src_dir_fd=place, follow_symlinks=True)
    except OSError:
        try:
            _copy(directory, source, target)
        except (FileNotFoundError, PermissionError):
            return False
    return True


def _copy(directory: Path, source: str, target: Path) -> None:
    staged = target.with_name(target.name + _TEMPORARY)
    try:
        with os.fdopen(open_own(directory, source), "rb") as data, staged.open("wb") as copied:
            shutil.copyfileobj(data, copied)
        staged.rename(target)
    finally:
        staged.unlink(missing_ok=True)


def _download(
    key: TaskKey, name: TaskKey, size: int, url: str, into: Path, settings: FetchSettings
) -> None:
    if not url:
        raise BlockUnavailable(key, "nobody serves it")
    target = into / f"{key.block_id}{DATA_SUFFIX}"
    staged = target.with_name(target.name + _TEMPORARY)
    shown = settings.shown_for(name.job)
    headers = {"Accept-Encoding": "identity"}
    if shown is not None:
        headers["Authorization"] = f"Bearer {shown}"
    address = f"{url.rstrip('/')}/internal/v1/blocks/{name.block_id}"
    try:
        with block_client(settings).stream("GET", address, headers=headers) as response:
            announced = response.headers.get("Content-Length")
            if response.status_code != httpx2.codes.OK or announced != str(size):
                said = f"{response.status_code} and {announced} bytes, not {size}"
                raise BlockUnavailable(key, f"{url} answered {said}")
            with staged.open("wb") as file:
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    file.write(chunk)
        staged.rename(target)
    except httpx2.HTTPError as error:
        reason = f"{url} does not deliver: {type(error).__name__} {error}"
        raise BlockUnavailable(key, reason) from error
    finally:
        staged.unlink(missing_ok=True)
