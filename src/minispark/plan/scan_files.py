"""Input files at planning time: which, in what order, how large, compressed or not.

Covers: the expansion of paths, globs and directories, the pinned size and time of change, which
files are compressed, where the row groups of a Parquet file end. Does not cover: the options of a
scan (`scan_options`) and how files become tasks (`splits`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.errors import ErrorInfo, UsageError, caused_by, exception_name

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

_COMPRESSED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x28\xb5\x2f\xfd")
"""First bytes by which Polars recognises gzip, zlib at four levels and zstd."""
_SHOWN_PATHS = 5
_MAGIC = b"PAR1"
_TAIL_BYTES = 8
"""A Parquet file ends with the length of its footer and `_MAGIC`."""
_ARROW_SCHEMA = b"ARROW:schema"
"""The key in a footer under which a writer keeps the dtypes of its columns."""


_SAMPLED_GROUPS = 4
"""Row groups of a file mostly have the same proportions."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One input file. ``path`` is absolute."""

    path: str
    size: int
    mtime_ns: int
    compressed: bool = False


@dataclass(frozen=True, slots=True)
class RowGroups:
    """The ends of the row groups of a Parquet file: in rows, and in bytes before encoding.

    Those of an IPC file are its record batches, whose bytes are taken as equal for each row.
    """

    rows: tuple[int, ...]
    bytes: tuple[int, ...]

    @property
    def total_rows(self) -> int:
        """Number of rows of the file."""
        return self.rows[-1] if self.rows else 0


@dataclass(frozen=True, slots=True)
class ColumnSizes:
    """The sizes of the columns of some rows of a Parquet file, as stored and decompressed."""

    rows: int
    stored: Mapping[str, int]
    decompressed: Mapping[str, int]


def expand(
    paths: Sequence[str], *, glob: bool, hidden_file_prefix: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the files that Polars would read for ``paths``, absolute, in its order.

    Raises
    ------
    UsageError
        There is no such file, or Polars refuses the paths.
    """
    files = listed(paths, glob=glob, hidden_file_prefix=hidden_file_prefix)
    if not files:
        raise UsageError.from_info(_nothing_found(paths))
    return files


def listed(
    paths: Sequence[str], *, glob: bool, hidden_file_prefix: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the files as `expand` does, none if a pattern or directory holds none.

    Raises
    ------
    UsageError
        Polars refuses the paths.
    """
    names = file_names(paths, glob=glob, hidden_file_prefix=hidden_file_prefix)
    return tuple(map(absolute, names))


def file_names(
    paths: Sequence[str], *, glob: bool, hidden_file_prefix: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the files that Polars would read for ``paths`` under the names that it gives them.

    Polars itself lists them: a scan with a given schema opens no file.

    Raises
    ------
    UsageError
        Polars refuses the paths.
    """
    scan = unopened(paths, glob=glob, hidden_file_prefix=hidden_file_prefix)
    try:
        node = scan._ldf.visit().view_current_node()
    except (PolarsError, PanicException, OSError) as error:
        raise refused(error, paths[0]) from error
    return tuple(getattr(node, "paths", []))


def unopened(
    paths: Sequence[str], *, glob: bool, hidden_file_prefix: Sequence[str] | None = None
) -> pl.LazyFrame:
    """Return a scan of which Polars lists the files and opens none, since it has a schema."""
    return pl.scan_parquet(
        list(paths),
        schema={"nothing": pl.Null},
        glob=glob,
        hidden_file_prefix=hidden_file_prefix,
        hive_partitioning=False,
    )


def absolute(name: str) -> str:
    """Return the absolute path of a file that Polars has named."""
    # Polars has decoded a URL: after the prefix comes the path itself.
    return str(Path.cwd() / name.removeprefix("file://"))


def refused(error: BaseException, path: str) -> UsageError:
    """Return the error for a path that Polars refuses."""
    return UsageError.from_info(caused_by(error, ErrorInfo("MS-110", str(error), file=path)))


def is_file_url(path: str) -> bool:
    """Whether Polars takes a path for the URL of a local file; in capitals it is no such URL."""
    return path.startswith("file:")


def is_remote(path: str) -> bool:
    """Whether a path is a URL of another machine."""
    return "://" in path and not is_file_url(path)


def _nothing_found(paths: Sequence[str]) -> ErrorInfo:
    shown = ", ".join(paths[:_SHOWN_PATHS]) + (", ..." if len(paths) > _SHOWN_PATHS else "")
    return ErrorInfo(
        "MS-110",
        f"no input file matches {shown}",
        file=paths[0] if paths else None,
        hint=f"Relative paths start at {Path.cwd()}.",
    )


def is_compressed(first: bytes) -> bool:
    """Whether Polars unpacks a file with these first bytes."""
    return first.startswith(_COMPRESSED)


def begins_compressed(path: str | Path) -> bool:
    """Whether Polars unpacks a file, False if the file cannot be read."""
    try:
        return is_compressed(first_bytes(path, 4))
    except OSError:
        return False


def first_bytes(path: str | Path, count: int) -> bytes:
    """Return at most ``count`` bytes from the start of a file."""
    with _opened(path) as descriptor:
        return os.read(descriptor, count)


@contextmanager
def _opened(path: str | Path) -> Iterator[int]:
    # Without O_NONBLOCK, opening a pipe would wait for a process that writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def pinned(path: str, *, sniff: bool, user_path: str | None = None) -> FileInfo:
    """Return a file as it is now; ``sniff`` reads its first bytes to see whether it is compressed.

    ``user_path`` is the path as the user wrote it, for the error.

    Raises
    ------
    UsageError
        The file does not exist or may not be read. The error is also a FileNotFoundError, or the
        other exception that Polars raises.
    """
    try:
        with _opened(path) as descriptor:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                # A pipe or a device has no size, and can be read only once.
                hint = "Write the data of the pipe or device to a file first."
                message = f"{path} is not a regular file"
                raise UsageError(message, code="MS-110", file=path, hint=hint)
            first = os.read(descriptor, 4) if sniff else b""
    except OSError as error:
        info = ErrorInfo("MS-110", f"cannot read {path}: {error.strerror}", file=path)
        if error.errno == errno.ENOENT:
            info = _nothing_found((path,))
        message = f"{error.strerror} (os error {error.errno}): {user_path or path}"
        info = replace(info, exception=exception_name(error), exception_message=message)
        raise UsageError.from_info(info) from error
    return FileInfo(path, status.st_size, status.st_mtime_ns, is_compressed(first))


def row_groups(path: str) -> RowGroups:
    """Return the ends of the row groups of a Parquet file, one group if only Polars can read it.

    Raises
    ------
    UsageError
        The file is not Parquet.
    """
    # pyarrow takes longer to load than most plans take to make.
    from pyarrow import ArrowException

    try:
        footer = _footer(Path(path))
    except (ArrowException, OSError):
        return _one_group(path)
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    rows = accumulate(group.num_rows for group in groups)
    return RowGroups(tuple(rows), tuple(accumulate(group.total_byte_size for group in groups)))


def column_sizes(path: str) -> ColumnSizes:
    """Return the sizes of the columns of a Parquet file in some of its row groups.

    Nested columns have a path of names with dots. A file that only Polars can read has no columns.
    """
    from pyarrow import ArrowException

    try:
        footer = _footer(Path(path))
    except (ArrowException, OSError):
        return ColumnSizes(0, {}, {})
    stored: Counter[str] = Counter()
    decompressed: Counter[str] = Counter()
    rows = 0
    step = -(-footer.num_row_groups // _SAMPLED_GROUPS) or 1
    for index in range(0, footer.num_row_groups, step):
        group = footer.row_group(index)
        rows += group.num_rows
        for number in range(group.num_columns):
            column = group.column(number)
            stored[column.path_in_schema] += column.total_compressed_size
            decompressed[column.path_in_schema] += column.total_uncompressed_size
    return ColumnSizes(rows, stored, decompressed)


def _footer(path: Path) -> FileMetaData:
    """Read a footer without its Arrow schema: pyarrow does not know all dtypes of Polars."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - _TAIL_BYTES, 0))
        tail = file.read()
        length = int.from_bytes(tail[:4], "little")
        file.seek(max(end - _TAIL_BYTES - length, 0))
        footer = file.read(length)
    other_key = b"-" * len(_ARROW_SCHEMA)
    return pq.read_metadata(
        pa.BufferReader(_MAGIC + footer.replace(_ARROW_SCHEMA, other_key) + tail)
    )


def ipc_batches(path: str) -> RowGroups:
    """Return the ends of the record batches of an IPC file, one if only Polars can read it.

    Raises
    ------
    UsageError
        The file is not IPC.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(path) as file:
            # The first column says how many rows a batch has; the others stay unread.
            first = pa.ipc.IpcReadOptions(included_fields=[0])
            reader = pa.ipc.open_file(file, options=first)
            heights = [reader.get_batch(n).num_rows for n in range(reader.num_record_batches)]
    except (pa.ArrowException, OSError):
        return _one_batch(path)
    ends = tuple(accumulate(heights))
    return RowGroups(ends, ends)


def _one_batch(path: str) -> RowGroups:
    try:
        rows = pl.scan_ipc(path, glob=False).select(pl.len()).collect(engine="streaming").item()
    except (PolarsError, PanicException, OSError) as error:
        msg = f"{path} is not an IPC file: {error}"
        raise UsageError(msg, code="MS-116", file=path) from error
    return RowGroups((rows,), (rows,))


def _one_group(path: str) -> RowGroups:
    try:
        rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect(engine="streaming").item()
        return RowGroups((rows,), (Path(path).stat().st_size,))
    except (PolarsError, PanicException, OSError) as error:
        msg = f"{path} is not a Parquet file: {error}"
        raise UsageError(msg, code="MS-116", file=path) from error
