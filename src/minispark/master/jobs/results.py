"""Results as a stream: blocks or written files in partition order, encoded batch by batch.

Covers: the four formats. Does not cover: reading and verifying a block (`blocks.fetch`). One
block at a time is mapped or fetched, one batch of it at a time encoded; the whole is nowhere.
"""

from __future__ import annotations

import errno
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import InvalidOperationError, PanicException, PolarsError
from polars.io.plugins import register_io_source

from minispark.blocks.fetch import FetchSettings, read_block
from minispark.blocks.meta import BlockUnavailable
from minispark.errors import ErrorInfo, UsageError
from minispark.journal.rows import SinkOutput
from minispark.master.http.http_errors import RefusedError
from minispark.master.jobs.finished_job import FinishedJob
from minispark.plan.columns import with_columns_in_order
from minispark.task.failures import errno_of, first_line, is_system_error
from minispark.task.formats import unwritable_column
from minispark.task.safe_open import pinned_directory
from minispark.task.scan_records import map_file, record_start
from minispark.wire.messages import NodeBlocks

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_BATCH_ROWS = 65_536
_CHUNK_BYTES = 1 << 20
_GLOB = re.compile(r"[*?\[]")
_ROW_GROUP_ROWS = 4 * _BATCH_ROWS
"""Given, so that equal rows give equal files: by default it depends on the machine."""
_OLDEST = pl.CompatLevel.oldest()
"""String views are newer than many readers of Arrow files."""
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
"""The last eight bytes of an Arrow stream."""

Frames = Iterator[pl.DataFrame]


@dataclass(frozen=True, slots=True)
class ResultStream:
    """Bytes to send, and what they are."""

    chunks: Iterator[bytes]
    media_type: str
    suffix: str


def open_stream(
    outcome: FinishedJob,
    node: str | None,
    format_: str,
    *,
    fetch: FetchSettings,
    root: Path | None,
    spool: Path,
) -> ResultStream:
    """Begin to encode a result; what cannot be read or encoded at all is said now. Blocks.

    ``root`` is what relative paths of written files mean; ``spool`` holds what must be a whole file
    before it can be sent.

    Raises
    ------
    RefusedError
        There is no such result, its rows are gone, the format cannot hold them, or there is no
        room for the file.
    """
    result = chosen(outcome, node)
    with refusing(result.node, format_, spool):
        if isinstance(result, NodeBlocks):
            frames = _block_frames(result, replace(fetch, spool=spool))
            chunks = _encoded(frames, format_, spool)
        else:
            chunks = _sink_chunks(result, root, format_, spool)
        first = next(chunks, b"")
    return ResultStream(_without_panics(chain((first,), chunks)), FORMATS[format_][1], format_)


@contextmanager
def refusing(node: str | None, format_: str, spool: Path) -> Iterator[None]:
    """Turn errors within the block into refusals of the result."""
    try:
        yield
    except BlockUnavailable as error:
        raise _gone(node, error.reason) from error
    except UsageError as error:  # Its directory leads out of the data root now.
        raise _gone(node, error.info.message) from error
    except OSError as error:
        raise _refused_by_system(error, node, spool) from error
    except (PolarsError, PanicException) as error:
        if is_system_error(error):
            raise _refused_by_system(error, node, spool) from error
        raise _cannot_hold(format_, node, first_line(error)) from error


def _without_panics(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Give the bytes; a panic is no Exception, and would not end the answer only."""
    try:
        yield from chunks
    except PanicException as error:
        msg = f"Polars stopped with an internal error: {first_line(error)}"
        raise RuntimeError(msg) from error


def chosen(outcome: FinishedJob, node: str | None) -> NodeBlocks | SinkOutput:
    """Return the result of a node, or the only one.

    Raises
    ------
    RefusedError
        There is none, or several.
    """
    found: list[NodeBlocks | SinkOutput] = [*outcome.results, *outcome.sinks]
    names = ", ".join(result.node or "(no name)" for result in found)
    if node is None and len(found) > 1:
        info = ErrorInfo(
            "MS-147", "the job has several results", field="node", hint=f"Name one of {names}."
        )
        raise RefusedError(422, info)
    for result in found:
        if node in (None, result.node):
            return result
    info = ErrorInfo(
        "MS-147", f"the job has no result {node!r}", field="node", hint=f"It has {names}."
    )
    raise RefusedError(404, info)


def _cannot_hold(format_: str, node: str | None, why: str) -> RefusedError:
    info = ErrorInfo(
        "MS-145",
        f"{format_} cannot hold these columns: {why}",
        node=node,
        field="format",
        hint="Choose another format, or cast the columns in the job.",
    )
    return RefusedError(422, info)


def _block_frames(result: NodeBlocks, fetch: FetchSettings) -> Frames:
    """Batches of rows; at least one, so that an empty result has its columns."""
    if not result.blocks:
        raise _gone(result.node, "it was made before the master was restarted")
    # The first batch says what the format cannot hold, so it has rows if there are any.
    for source in [one for one in result.blocks if one.meta.rows] or result.blocks[:1]:
        frame = read_block(source, settings=fetch)
        yield from _batches(with_columns_in_order(frame, result.columns))


def _batches(frame: pl.DataFrame) -> Frames:
    for offset in range(0, max(frame.height, 1), _BATCH_ROWS):
        yield frame.slice(offset, _BATCH_ROWS)


def _sink_chunks(sink: SinkOutput, root: Path | None, format_: str, spool: Path) -> Iterator[bytes]:
    """Give the files of a sink, by its directory as it was when it was opened."""
    with pinned_directory(Path(root or "") / sink.path, root) as directory:
        yield from _file_chunks(sink, directory, format_, spool)


def _file_chunks(sink: SinkOutput, directory: Path, format_: str, spool: Path) -> Iterator[bytes]:
    """Text goes out as it was written; another format is made of what a reader sees in it."""
    paths = [directory / name for name in sink.files]
    for path in paths:
        # Whoever may write there must not have this process read what they may not.
        if path.is_symlink():
            raise _gone(sink.node, f"{path.name} is a link now")
    if sink.format == format_ and format_ in ("csv", "jsonl"):
        return _joined(paths, _header(paths[0]) if format_ == "csv" else b"")
    return _encoded(_file_frames(sink.format, paths), format_, spool)


def _encoded(frames: Frames, format_: str, spool: Path) -> Iterator[bytes]:
    first = next(frames)
    name = unwritable_column(format_, first.schema)
    if name is not None:
        msg = f"the column {name!r} holds {first.schema[name]}"
        raise InvalidOperationError(msg)
    encode, _ = FORMATS[format_]
    return encode(chain((first,), frames), spool)


def _header(path: Path) -> bytes:
    """Return the first record of a CSV file, which all files of a job have in common."""
    with map_file(path) as data:
        return data[: record_start(data, 1, quote=b'"', odd=data[:1] == b'"')]


def _joined(paths: list[Path], header: bytes) -> Iterator[bytes]:
    for number, path in enumerate(paths):
        with path.open("rb") as file:
            if number > 0:
                file.seek(len(header))
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def _file_frames(format_: str, paths: list[Path]) -> Frames:
    if format_ == "parquet":
        for path in paths:
            yield from _batches(pl.read_parquet(path, glob=False))
        return
    # All files have the same columns, but only all rows together tell their types.
    if format_ == "csv":
        whole = pl.scan_csv(paths, infer_schema_length=None, glob=False).collect_schema()
        for path in paths:
            yield from _batches(pl.read_csv(path, schema=whole, glob=False))
    else:
        sources: list[Any] = [_unexpanded(path) for path in paths]
        whole = pl.scan_ndjson(sources, infer_schema_length=None).collect_schema()
        for source in sources:
            yield from _batches(pl.read_ndjson(source, schema=whole))


def _unexpanded(path: Path) -> Path | bytes:
    """Return what the reader of JSON lines takes as it stands; it has no option for paths."""
    return path.read_bytes() if _GLOB.search(str(path)) else path


def _csv(frames: Frames, _spool: Path) -> Iterator[bytes]:
    for number, frame in enumerate(frames):
        out = io.BytesIO()
        frame.write_csv(out, include_header=number == 0)
        yield out.getvalue()


def _jsonl(frames: Frames, _spool: Path) -> Iterator[bytes]:
    for frame in frames:
        out = io.BytesIO()
        frame.write_ndjson(out)
        yield out.getvalue()


def _arrow(frames: Frames, _spool: Path) -> Iterator[bytes]:
    """Encode each batch as a stream; all have one schema, which is sent once, and so is the end."""
    for number, frame in enumerate(frames):
        out = io.BytesIO()
        frame.write_ipc_stream(out, compat_level=_OLDEST)
        stream = out.getvalue().removesuffix(_STREAM_END)
        # A message: four bytes of mark, four of length, then so much of metadata; no body here.
        schema_bytes = 8 + int.from_bytes(stream[4:8], "little")
        yield stream[schema_bytes if number else 0 :]
    yield _STREAM_END


def _parquet(frames: Frames, spool: Path) -> Iterator[bytes]:
    # Its footer, which readers want first, comes last.
    with tempfile.TemporaryDirectory(dir=spool) as directory:
        path = Path(directory) / "result.parquet"
        _write_parquet(frames, path)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def _write_parquet(frames: Frames, path: Path) -> None:
    first, errors = next(frames), list[Exception]()

    def batches(*_: object) -> Frames:
        try:
            yield from chain((first,), frames)
        except Exception as error:
            # Polars makes an error of its own of it.
            errors.append(error)
            raise

    rows = register_io_source(batches, schema=first.schema)
    try:
        rows.sink_parquet(path, row_group_size=_ROW_GROUP_ROWS, engine="streaming")
    except (PolarsError, PanicException, OSError):
        if errors:
            raise errors[0] from None
        raise


FORMATS: dict[str, tuple[Callable[[Frames, Path], Iterator[bytes]], str]] = {
    "csv": (_csv, "text/csv; charset=utf-8"),
    "jsonl": (_jsonl, "application/x-ndjson"),
    "parquet": (_parquet, "application/vnd.apache.parquet"),
    "arrow": (_arrow, "application/vnd.apache.arrow.stream"),
}


def _refused_by_system(error: Exception, node: str | None, spool: Path) -> RefusedError:
    """Say that the disk of the master is full, or that what the result is made of is gone."""
    number, name = errno_of(error), getattr(error, "filename", None)
    what = first_line(error) if number is None else os.strerror(number)
    if number not in _FULL and not (name and Path(name).is_relative_to(spool)):
        file = Path(name).name if name else "a file"  # Its directory may be a descriptor.
        if isinstance(error, FileNotFoundError):
            return _gone(node, f"{file} was removed")
        return _gone(node, f"{file} cannot be read: {what}")
    return RefusedError(
        507,
        ErrorInfo(
            "MS-148",
            f"the master cannot prepare this download in {spool}: {what}",
            node=node,
            file=str(spool),
            hint="Make room on its disk; csv, jsonl and arrow need none if read from the start.",
        ),
    )


def _gone(node: str | None, reason: str) -> RefusedError:
    return RefusedError(
        410,
        ErrorInfo(
            "MS-144",
            f"the result {node or ''!r} is not there any more: {reason}",
            node=node,
            hint="The worker that held it is gone, or it was lost; submit the job again.",
        ),
    )
