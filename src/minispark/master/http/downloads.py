"""A result as an HTTP download that can be gone on with where it broke off.

A download from the beginning is encoded while it is sent. One that is resumed (``Range: bytes=N-``)
is encoded into a file first, since its answer has to name the whole length; equal blocks give equal
bytes, and the ETag says which blocks they were.

Covers: ETag, Range, If-Range. Does not cover: what the bytes are (`results`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Final

import polars as pl

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.format import bytes_checksum
from minispark.journal.rows import SinkOutput
from minispark.master.jobs.finished_job import FinishedJob
from minispark.master.jobs.results import chosen, open_stream, refusing

_CHUNK_BYTES = 1 << 20
_VERSIONS = (pl.__version__, metadata.version("minispark-engine"))
"""Others may encode the same rows otherwise."""
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")


@dataclass(frozen=True, slots=True)
class Download:
    """An answer: its status, headers and bytes."""

    status: int
    headers: dict[str, str]
    media_type: str
    chunks: Iterator[bytes]


def download(
    outcome: FinishedJob,
    node: str | None,
    format_: str,
    *,
    asked: Mapping[str, str],
    fetch: FetchSettings,
    root: Path | None,
    spool: Path,
) -> Download:
    """Begin a download. ``asked`` are the request's headers; ``spool`` holds files on the way.

    Blocks.

    Raises
    ------
    RefusedError
        There is no such result, its rows are gone, the format cannot hold them, or the disk of
        ``spool`` is full.
    """
    tag = _tag(outcome, node, format_, root)
    stream = open_stream(outcome, node, format_, fetch=fetch, root=root, spool=spool)
    name = f"{outcome.view.job_id}.{stream.suffix}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "ETag": tag,
        "Accept-Ranges": "bytes",
    }
    found = _RANGE.fullmatch(asked.get("range", ""))
    if found is None or asked.get("if-range", tag) != tag:
        return Download(200, headers, stream.media_type, stream.chunks)
    with refusing(node, format_, spool):
        file = _spooled(stream.chunks, spool)
    total = file.tell()
    start, end = int(found[1]), min(int(found[2] or total), total - 1)
    if not start <= end:
        file.close()
        headers["Content-Range"] = f"bytes */{total}"
        return Download(416, headers, stream.media_type, iter(()))
    headers["Content-Range"] = f"bytes {start}-{end}/{total}"
    headers["Content-Length"] = str(end - start + 1)
    return Download(206, headers, stream.media_type, _part(file, start, end + 1))


def _tag(outcome: FinishedJob, node: str | None, format_: str, root: Path | None) -> str:
    """Name the bytes of a download: the same as long as nothing they are made of has changed."""
    result = chosen(outcome, node)
    parts = [outcome.view.job_id, str(result.node), format_, *_VERSIONS]
    if isinstance(result, SinkOutput):
        for path in (Path(root or "") / result.path / name for name in result.files):
            found = path.stat() if path.exists() else None
            parts.append(f"{path} {found and (found.st_size, found.st_mtime_ns)}")
    else:
        parts.extend(f"{block.key.block_id} {block.meta.checksum}" for block in result.blocks)
    return f'"{bytes_checksum(chr(10).join(parts).encode()):016x}"'


def _spooled(chunks: Iterator[bytes], directory: Path) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed when it was sent
    try:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _part(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end and (chunk := file.read(min(_CHUNK_BYTES, end - start))):
            start += len(chunk)
            yield chunk
