"""Results as a stream: blocks or written files in partition order, encoded batch by batch.

Covers: the four formats. Does not cover: reading and verifying a block (`blocks.fetch`). One
block at a time is mapped or fetched, and one batch of it at a time encoded, so no more than a block
is in memory.
"""

from __future__ import annotations

import errno
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from minispark.master.jobs.finished_job import FinishedJob
from minispark.plan.columns import with_columns_in_order
from minispark.task.failures import errno_of, first_line, is_system_error
from minispark.task.formats import unwritable_column
from minispark.task.safe_open import pinned_directory
from minispark.task.scan_records import map_file, record_start
from minispark.wire.http import RefusedError
from minispark.wire.messages import NodeBlocks

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_BATCH_ROWS = 65_536
_CHUNK_BYTES = 1 << 20
_GLOB = re.compile(r"[*?\[]")
_ROW_GROUP_ROWS = 4 * _BATCH_ROWS
"""Set, so that equal rows give equal files: Polars' default depends on the machine."""
_OLDEST = pl.CompatLevel.oldest()
"""String views are newer than many readers of Arrow files."""
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
"""The last eight bytes of an Arrow stream."""

Frames = Iterator[pl.DataFrame]


def open_stream(
    outcome: FinishedJob,
    node: str | None,
    format_: str,
    *,
    fetch: FetchSettings,
    root: Path | None,
    spool: Path,
) -> Iterator[bytes]:
    """Return the bytes of a result; the first chunk is encoded before this returns. Blocks.

    Relative paths of written files start at ``root``; files that must be whole before they can be
    sent are in ``spool``.

    Raises
    ------
    RefusedError
        There is no such result, its rows are gone, the format cannot hold them, or there is no
        room for the file.
    """
    result = result_of(outcome, node)
    with refusing(result.node, format_, spool):
        if isinstance(result, NodeBlocks):
            frames = _block_frames(result, replace(fetch, spool=spool))
            chunks = _encoded(frames, format_, spool)
        else:
            chunks = _sink_chunks(result, root, format_, spool)
        first = next(chunks, b"")
    return _without_panics(chain((first,), chunks))


@contextmanager
def refusing(node: str | None, format_: str, spool: Path) -> Iterator[None]:
    """Turn errors within the block into a `RefusedError` about the result."""
    try:
        yield
    except BlockUnavailable as error:
        raise _gone(node, error.reason) from error
    except UsageError as error:  # Its directory is a link to outside of the data root now.
        raise _gone(node, error.info.message) from error
    except OSError as error:
        raise _refused_by_system(error, node, spool) from error
    except (PolarsError, PanicException) as error:
        if is_system_error(error):
            raise _refused_by_system(error, node, spool) from error
        raise _cannot_hold(format_, node, first_line(error)) from error


def _without_panics(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes; turn a panic, which is no `Exception`, into an error of this answer."""
    try:
        yield from chunks
    except PanicException as error:
        msg = f"Polars stopped with an internal error: {first_line(error)}"
        raise RuntimeError(msg) from error


def result_of(outcome: FinishedJob, node: str | None) -> NodeBlocks | SinkOutput:
    """Return the result of a node; without a node, the job's only result.

    Raises
    ------
    RefusedError
        There is none, or several.
    """
    results: list[NodeBlocks | SinkOutput] = [*outcome.results, *outcome.sinks]
    names = ", ".join(result.node or "(no name)" for result in results)
    if node is None and len(results) > 1:
        info = ErrorInfo(
            "MS-147", "the job has several results", field="node", hint=f"Name one of {names}."
        )
        raise RefusedError(422, info)
    for result in results:
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
    """Yield batches of rows; at least one, so that an empty result has its columns."""
    if not result.blocks:
        raise _gone(result.node, "it was made before the master was restarted")
    # The first batch shows what the format cannot hold, so it has rows if there are any.
    for source in [block for block in result.blocks if block.meta.rows] or result.blocks[:1]:
        frame = read_block(source, settings=fetch)
        yield from _batches(with_columns_in_order(frame, result.columns))


def _batches(frame: pl.DataFrame) -> Frames:
    for offset in range(0, max(frame.height, 1), _BATCH_ROWS):
        yield frame.slice(offset, _BATCH_ROWS)


def _sink_chunks(sink: SinkOutput, root: Path | None, format_: str, spool: Path) -> Iterator[bytes]:
    """Yield text files of a sink as they are; encode its files again for another format.

    The directory is pinned, because it may be replaced by a link meanwhile.
    """
    with pinned_directory(Path(root or "") / sink.path, root) as directory:
        paths = [directory / name for name in sink.files]
        for path in paths:
            # Refuse symlinks: they could point to files that only the master may read.
            if path.is_symlink():
                raise _gone(sink.node, f"{path.name} has become a link")
        if sink.format == format_ and format_ in ("csv", "jsonl"):
            header = _header(paths[0]) if format_ == "csv" else b""
            yield from _file_chunks(paths, header=header)
        else:
            yield from _encoded(_file_frames(sink.format, paths), format_, spool)


def _encoded(frames: Frames, format_: str, spool: Path) -> Iterator[bytes]:
    first = next(frames)
    name = unwritable_column(format_, first.schema)
    if name is not None:
        msg = f"the column {name!r} holds {first.schema[name]}"
        raise InvalidOperationError(msg)
    encode, _ = FORMATS[format_]
    return encode(chain((first,), frames), spool)


def _header(path: Path) -> bytes:
    """Return the header of a CSV file; all files of a job have the same."""
    with map_file(path) as data:
        return data[: record_start(data, 1, quote=b'"', odd=data[:1] == b'"')]


def _file_chunks(paths: list[Path], *, header: bytes = b"") -> Iterator[bytes]:
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
    # The types depend on the rows of all files.
    if format_ == "csv":
        schema = pl.scan_csv(paths, infer_schema_length=None, glob=False).collect_schema()
        for path in paths:
            yield from _batches(pl.read_csv(path, schema=schema, glob=False))
    else:
        sources: list[Any] = [_unexpanded(path) for path in paths]
        schema = pl.scan_ndjson(sources, infer_schema_length=None).collect_schema()
        for source in sources:
            yield from _batches(pl.read_ndjson(source, schema=schema))


def _unexpanded(path: Path) -> Path | bytes:
    """Return a file for `scan_ndjson`, as bytes if it would expand the path as a pattern."""
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
    """Encode each batch as a stream; send the schema, which is the same, and the end only once."""
    for number, frame in enumerate(frames):
        out = io.BytesIO()
        frame.write_ipc_stream(out, compat_level=_OLDEST)
        stream = out.getvalue().removesuffix(_STREAM_END)
        # The schema message: four bytes of mark, four of length, metadata of that length, no body.
        schema_bytes = 8 + int.from_bytes(stream[4:8], "little")
        yield stream[schema_bytes if number else 0 :]
    yield _STREAM_END


def _parquet(frames: Frames, spool: Path) -> Iterator[bytes]:
    # Readers need the footer, which comes last: the file must be whole.
    with tempfile.TemporaryDirectory(dir=spool) as directory:
        path = Path(directory) / "result.parquet"
        _write_parquet(frames, path)
        yield from _file_chunks([path])


def _write_parquet(frames: Frames, path: Path) -> None:
    first, errors = next(frames), list[Exception]()

    def batches(*_: object) -> Frames:
        try:
            yield from chain((first,), frames)
        except Exception as error:
            # Polars would raise an error of its own instead.
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
    """Return the error for a full disk of the master, or for files of the result that are gone."""
    number, name = errno_of(error), getattr(error, "filename", None)
    reason = first_line(error) if number is None else os.strerror(number)
    if number not in _FULL and not (name and Path(name).is_relative_to(spool)):
        file = Path(name).name if name else "a file"  # Its directory may be a descriptor.
        if isinstance(error, FileNotFoundError):
            return _gone(node, f"{file} was removed")
        return _gone(node, f"{file} cannot be read: {reason}")
    return RefusedError(
        507,
        ErrorInfo(
            "MS-148",
            f"the master cannot prepare this download in {spool}: {reason}",
            node=node,
            file=str(spool),
            hint="Free space on its disk. csv, jsonl and arrow need no space if read from the "
            "start.",
        ),
    )


def _gone(node: str | None, reason: str) -> RefusedError:
    return RefusedError(
        410,
        ErrorInfo(
            "MS-144",
            f"the result {node or ''!r} no longer exists: {reason}",
            node=node,
            hint="The worker that stored it has left, or the result was lost. Submit the job "
            "again.",
        ),
    )
