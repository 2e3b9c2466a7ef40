"""A result as an HTTP download that can be resumed.

A download from the beginning is encoded while it is sent. A resumed one (``Range: bytes=N-``) is
encoded into a file first, because its answer must name the whole length. Equal blocks give equal
bytes, and the ETag says which blocks they were.

Covers: ETag, Range, If-Range. Does not cover: what the bytes are (`results`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Final

import polars as pl
from fastapi.responses import StreamingResponse

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.format import bytes_checksum
from minispark.journal.rows import SinkOutput
from minispark.master.jobs.finished_job import FinishedJob
from minispark.master.jobs.results import FORMATS, open_stream, refusing, result_of

_CHUNK_BYTES = 1 << 20
_VERSIONS = (pl.__version__, metadata.version("minispark-engine"))
"""Other versions may encode the same rows as other bytes."""
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")


def download(
    outcome: FinishedJob,
    node: str | None,
    format_: str,
    *,
    asked: Mapping[str, str],
    fetch: FetchSettings,
    root: Path | None,
    spool: Path,
) -> StreamingResponse:
    """Return the response. ``asked`` are the request's headers; files on the way are in ``spool``.

    Blocks.

    Raises
    ------
    RefusedError
        There is no such result, its rows are gone, the format cannot hold them, or the disk of
        ``spool`` is full.
    """
    tag = _tag(outcome, node, format_, root)
    chunks = open_stream(outcome, node, format_, fetch=fetch, root=root, spool=spool)
    name, media_type = f"{outcome.view.job_id}.{format_}", FORMATS[format_][1]
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "ETag": tag,
        "Accept-Ranges": "bytes",
    }
    wanted = _RANGE.fullmatch(asked.get("range", ""))
    if wanted is None or asked.get("if-range", tag) != tag:
        return StreamingResponse(chunks, 200, headers, media_type)
    with refusing(node, format_, spool):
        file = _spooled(chunks, spool)
    total = file.tell()
    start, end = int(wanted[1]), min(int(wanted[2] or total), total - 1)
    if not start <= end:
        file.close()
        headers["Content-Range"] = f"bytes */{total}"
        return StreamingResponse(iter(()), 416, headers, media_type)
    headers["Content-Range"] = f"bytes {start}-{end}/{total}"
    headers["Content-Length"] = str(end - start + 1)
    return StreamingResponse(_part(file, start, end + 1), 206, headers, media_type)


def _tag(outcome: FinishedJob, node: str | None, format_: str, root: Path | None) -> str:
    """Return the ETag of a download: it changes with the blocks or files of the result."""
    result = result_of(outcome, node)
    parts = [outcome.view.job_id, str(result.node), format_, *_VERSIONS]
    if isinstance(result, SinkOutput):
        for path in (Path(root or "") / result.path / name for name in result.files):
            stat = path.stat() if path.exists() else None
            parts.append(f"{path} {stat and (stat.st_size, stat.st_mtime_ns)}")
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
