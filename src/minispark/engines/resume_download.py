"""Saves a download to a file, and resumes a download that broke off.

The part that has arrived lies beside the file, with the download's ETag in its name:
``.NAME.<etag>.part``. A later call for the same bytes resumes it; for other bytes it starts again.

::

    GET                                   200, ETag: "t"     ->  .NAME.t.part
    (broken off)
    GET, Range: bytes=N-, If-Range: "t"   206                ->  appended
                                          416, bytes */N     ->  the part was complete
                                          200, ETag: "u"     ->  other bytes: from the beginning
"""

from __future__ import annotations

import fcntl
import re
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

import httpx2

from minispark.errors import MasterUnreachableError, UsageError

BEYOND_THE_END = 416
_TRIES = 5
"""Breaks in a row without a new byte; after them the master is gone, not just restarted."""
_PAUSE_S = 0.5


class OpenDownload(Protocol):
    """Sends the request of a download."""

    def __call__(self, *, headers: dict[str, str]) -> AbstractContextManager[httpx2.Response]:
        """Request the download with these headers."""


def save(open_download: OpenDownload, path: Path) -> int:
    """Write a download to a file and return its size.

    Raises
    ------
    UsageError
        Another download writes to the same file.
    MasterUnreachableError
        The download broke off too often in a row.
    """
    part, failures = _find_part(path), 0
    while True:
        before = _size(part)
        try:
            part = _request(open_download, path, part)
        except MasterUnreachableError as error:
            part = _find_part(path)
            failures = failures + 1 if _size(part) <= before else 1
            if failures >= _TRIES:
                hint = f"{_size(part)} bytes were downloaded; run the same command to resume."
                raise MasterUnreachableError(error.info.message, hint=hint) from error
            threading.Event().wait(_PAUSE_S * failures)
        else:
            part.replace(path)
            return path.stat().st_size


def _request(open_download: OpenDownload, path: Path, part: Path | None) -> Path:
    headers = {}
    if part is not None:
        headers = {"Range": f"bytes={_size(part)}-", "If-Range": f'"{_tag_in(part)}"'}
    with open_download(headers=headers) as response:
        if part is None or response.status_code == httpx2.codes.OK:
            _discard(path)
            part = path.with_name(f".{path.name}.{_tag_of(response)}.part")
        elif response.status_code == BEYOND_THE_END:
            if response.headers.get("content-range") == f"bytes */{_size(part)}":
                return part
            _discard(path)
            msg = "the partial download is longer than the result"
            raise MasterUnreachableError(msg)
        with part.open("ab") as file:
            _lock(file, path)
            # Unbuffered: bytes that wait for a full chunk are lost when the connection breaks.
            for chunk in response.iter_bytes():
                file.write(chunk)
    return part


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        msg = f"another download writes to {path} now"
        raise UsageError(msg, file=str(path)) from error


def _find_part(path: Path) -> Path | None:
    names = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]+\.part")
    parts = [file for file in path.parent.iterdir() if names.fullmatch(file.name)]
    return max(parts, key=_size, default=None)


def _discard(path: Path) -> None:
    while (part := _find_part(path)) is not None:
        part.unlink(missing_ok=True)


def _size(part: Path | None) -> int:
    return 0 if part is None else part.stat().st_size


def _tag_in(part: Path) -> str:
    return part.name.rsplit(".", 2)[1]


def _tag_of(response: httpx2.Response) -> str:
    tag: str = response.headers.get("etag", "")
    return tag.strip('"') or "0"
