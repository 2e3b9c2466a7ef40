"""Results as a stream: blocks or written files in partition order, encoded batch by batch.

Covers: the four formats. Does not cover: reading and verifying a block (`blocks.fetch`). One
block at a time is mapped or fetched, one batch of it at a time encoded; the whole is nowhere.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from minispark.blocks.errors import BlockUnavailable
from minispark.blocks.fetch import FetchSettings, read_block
from minispark.errors import ErrorInfo
from minispark.master.answers import RefusedError
from minispark.master.outcome import Outcome, SinkOutput
from minispark.plan.names import with_columns_in_order
from minispark.wire.messages import NodeBlocks

__all__ = ["FORMATS", "ResultStream", "chosen", "open_stream"]

_BATCH_ROWS = 65_536
_CHUNK_BYTES = 1 << 20
_OLDEST = pl.CompatLevel.oldest()
"""String views are newer than many readers of Arrow files."""

Frames = Iterator[pl.DataFrame]


@dataclass(frozen=True, slots=True)
class ResultStream:
    """Bytes to send, and what they are."""

    chunks: Iterator[bytes]
    media_type: str
    suffix: str


def open_stream(
    outcome: Outcome,
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
        There is no such result, its rows are gone, or the format cannot hold them.
    """
    result = chosen(outcome, node)
    encode, media_type = FORMATS[format_]
    try:
        if isinstance(result, NodeBlocks):
            chunks = encode(_block_frames(result, replace(fetch, spool=spool)), spool)
        else:
            chunks = _file_chunks(result, Path(root or "") / result.path, format_, spool)
        first = next(chunks, b"")
    except BlockUnavailable as error:
        raise _gone(result.node, error.reason) from error
    except FileNotFoundError as error:
        raise _gone(result.node, f"{error.filename} was removed") from error
    except (pl.exceptions.PolarsError, pa.ArrowException) as error:
        raise RefusedError(
            422,
            ErrorInfo(
                "MS-145",
                f"{format_} cannot hold these columns: {error}",
                node=result.node,
                field="format",
                hint="Choose another format, or cast the columns in the job.",
            ),
        ) from error
    return ResultStream(chain((first,), chunks), media_type, format_)


def chosen(outcome: Outcome, node: str | None) -> NodeBlocks | SinkOutput:
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


def _block_frames(result: NodeBlocks, fetch: FetchSettings) -> Frames:
    """Batches of rows; at least one, so that an empty result has its columns."""
    if not result.blocks:
        raise _gone(result.node, "it was made before the master was restarted")
    given = False
    for source in result.blocks:
        frame = read_block(source, settings=fetch)
        if frame.height == 0 and given:
            continue
        given = True
        yield from _batches(with_columns_in_order(frame, result.columns))


def _batches(frame: pl.DataFrame) -> Frames:
    for offset in range(0, max(frame.height, 1), _BATCH_ROWS):
        yield frame.slice(offset, _BATCH_ROWS)


def _file_chunks(sink: SinkOutput, directory: Path, format_: str, spool: Path) -> Iterator[bytes]:
    """Text goes out as it was written; another format is made of what a reader sees in it."""
    paths = [directory / name for name in sink.files]
    for path in paths:
        # Whoever may write there must not have this process read what they may not.
        if path.is_symlink():
            raise _gone(sink.node, f"{path} is a link now")
    if sink.format == format_ and format_ in ("csv", "jsonl"):
        header = b""
        if format_ == "csv":
            header = pl.read_csv(paths[0], n_rows=0, infer_schema=False).write_csv().encode()
        return _joined(paths, header)
    encode, _ = FORMATS[format_]
    return encode(_file_frames(sink.format, paths), spool)


def _joined(paths: list[Path], header: bytes) -> Iterator[bytes]:
    for number, path in enumerate(paths):
        with path.open("rb") as file:
            if number > 0 and file.read(len(header)) != header:
                file.seek(0)
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def _file_frames(format_: str, paths: list[Path]) -> Frames:
    if format_ == "parquet":
        for path in paths:
            yield from _batches(pl.read_parquet(path))
        return
    # All files have the same columns, but only all rows together tell their types.
    if format_ == "csv":
        whole = pl.scan_csv(paths, infer_schema_length=None).collect_schema()
        for path in paths:
            yield from _batches(pl.read_csv(path, schema=whole))
    else:
        whole = pl.scan_ndjson(paths, infer_schema_length=None).collect_schema()
        for path in paths:
            yield from _batches(pl.read_ndjson(path, schema=whole))


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
    out = _Drain()
    writer = None
    for frame in frames:
        table = frame.to_arrow(compat_level=_OLDEST)
        if writer is None:
            writer = pyarrow.ipc.new_stream(pa.PythonFile(out, mode="w"), table.schema)
        writer.write_table(table)
        yield out.take()
    if writer is not None:
        writer.close()
    yield out.take()


def _parquet(frames: Frames, spool: Path) -> Iterator[bytes]:
    # Its footer, which readers want first, comes last.
    with tempfile.TemporaryDirectory(dir=spool) as directory:
        path = Path(directory) / "result.parquet"
        writer = None
        for frame in frames:
            table = frame.to_arrow(compat_level=_OLDEST)
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


class _Drain(io.RawIOBase):
    """A file that only grows; what was written so far can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self._taken = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        view = memoryview(data).cast("B")
        self._held += view
        return len(view)

    def tell(self) -> int:
        return self._taken + len(self._held)

    def take(self) -> bytes:
        data = bytes(self._held)
        self._taken += len(data)
        self._held.clear()
        return data


FORMATS: dict[str, tuple[Callable[[Frames, Path], Iterator[bytes]], str]] = {
    "csv": (_csv, "text/csv; charset=utf-8"),
    "jsonl": (_jsonl, "application/x-ndjson"),
    "parquet": (_parquet, "application/vnd.apache.parquet"),
    "arrow": (_arrow, "application/vnd.apache.arrow.stream"),
}


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
