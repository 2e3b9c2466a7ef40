"""Files and streams of rows that a command writes: their format, and what they may replace.

The format is known from the ending of the file, by one table for all commands; ``--format`` comes
first. Arrow rows in a file are an Arrow file, on standard output they are an Arrow stream.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from minispark.cli.options import Format
from minispark.errors import UsageError

OUTPUT_ENDINGS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
_BINARY: Final = ("parquet", "arrow")


def output_format(output: Path | None, given: Format | None) -> Format:
    """Return the format of an output: ``given``, by the file's ending, or csv without a file.

    Raises
    ------
    UsageError
        The ending is not known, or a binary format would go to a terminal.
    """
    if output is None:
        return _for_standard_output(given or "csv")
    if given is not None:
        return given
    known = OUTPUT_ENDINGS.get(output.suffix.lower())
    if known is None:
        ending = f"from the ending {output.suffix}" if output.suffix else "without an ending"
        msg = f"the format of {output.name} is not known {ending}"
        hint = f"Endings are: {', '.join(OUTPUT_ENDINGS)}. Or give --format."
        raise UsageError(msg, field="output", file=str(output), hint=hint)
    return known


def check_replaceable(output: Path, *, force: bool) -> None:
    """Refuse an output that exists, unless ``force`` is given and it is a file.

    Raises
    ------
    UsageError
        The file exists, or something that is no file has its name.
    """
    if not output.exists():
        return
    if not output.is_file():
        kind = "a directory" if output.is_dir() else "not a regular file"
        msg = f"{output} is {kind}"
        raise UsageError(msg, code="MS-125", file=str(output), hint="Name a file to write.")
    if not force:
        msg = f"{output} exists already"
        hint = "Add --force to replace it, or name another file."
        raise UsageError(msg, code="MS-125", file=str(output), hint=hint)


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Yield a temporary path in the directory of ``output``, which gets that name at the end."""
    output.parent.mkdir(parents=True, exist_ok=True)
    staged = output.with_name(f".{output.name}.{uuid.uuid4().hex}")
    try:
        yield staged
        staged.replace(output)
    finally:
        staged.unlink(missing_ok=True)


def write_arrow_file(stream: Path, target: Path) -> None:
    """Write the rows of an Arrow stream as an Arrow file."""
    import polars as pl
    import pyarrow as pa

    try:
        with (
            stream.open("rb") as source,
            pa.ipc.open_stream(source) as batches,
            target.open("wb") as sink,
            pa.ipc.new_file(sink, batches.schema) as file,
        ):
            for batch in batches:
                file.write(batch)
    except pa.ArrowNotImplementedError:
        # pyarrow does not know all dtypes of Polars; Polars needs all rows in memory.
        pl.read_ipc_stream(stream).write_ipc(target)


def _for_standard_output(format_: Format) -> Format:
    from minispark.cli.terminal import output

    if format_ in _BINARY and output.is_terminal:
        msg = f"{format_} is a binary format, and standard output is a terminal"
        raise UsageError(msg, field="format", hint="Name a file with --output, or pipe the output.")
    return format_
