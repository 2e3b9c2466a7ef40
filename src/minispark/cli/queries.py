"""SQL from the command line: read tables from files, run a query, print or save its rows."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.cli.job_metrics import print_frame
from minispark.cli.options import Format, master_of
from minispark.cli.outputs import replacing
from minispark.cli.terminal import notes, write_rows
from minispark.engines.polars_engine import Engine
from minispark.errors import UsageError
from minispark.formatting import count_text
from minispark.jobs.errors import polars_reason
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.input_paths import (
    ENDINGS,
    InputFiles,
    check_same_format,
    empty_files,
    ending,
    files_of,
    format_of,
    is_directory,
    polars_sources,
)
from minispark.plan.query_name import sql_name
from minispark.plan.scan_files import is_file_url, is_remote
from minispark.plan.sqltext import SqlRefusedError, check_statement
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

_READERS: Final[dict[str, Callable[[list[str], list[str] | None], pl.LazyFrame]]] = {
    "csv": lambda paths, _: pl.scan_csv(paths, try_parse_dates=True),
    "tsv": lambda paths, _: pl.scan_csv(paths, separator="\t", try_parse_dates=True),
    "jsonl": lambda paths, _: pl.scan_ndjson(paths),
    "parquet": lambda paths, hidden: pl.scan_parquet(paths, hidden_file_prefix=hidden),
    "arrow": lambda paths, _: pl.scan_ipc(paths),
    "text": lambda paths, _: pl.scan_lines(paths, name="text"),
}
_WRITERS: Final[dict[Format, Callable[[pl.DataFrame, Path], object]]] = {
    "csv": lambda rows, path: rows.write_csv(path),
    "jsonl": lambda rows, path: rows.write_ndjson(path),
    "parquet": lambda rows, path: rows.write_parquet(path),
    "arrow": lambda rows, path: rows.write_ipc(path),
}
_STREAMERS: Final[dict[Format, Callable[[pl.DataFrame, IO[bytes]], object]]] = {
    "csv": lambda rows, stream: rows.write_csv(stream),
    "jsonl": lambda rows, stream: rows.write_ndjson(stream),
    "parquet": lambda rows, stream: rows.write_parquet(stream),
    "arrow": lambda rows, stream: rows.write_ipc_stream(stream),
}


def run_query(
    query: str, tables: Sequence[str], *, engine: str, parallelism: int | None
) -> pl.DataFrame:
    """Run a query over files and return its rows.

    ``tables`` are ``name=path`` or ``path``; ``engine`` is ``local`` or the URL of a master.

    Raises
    ------
    UsageError
        A table or the query is wrong, or there is no such engine.
    """
    frame = _query(query, tables)
    runner = Engine(master_of(engine), parallelism=parallelism).named(sql_name(query), sql=query)
    return frame.collect(engine=runner)


def plan_query(query: str, tables: Sequence[str], *, parallelism: int | None) -> StageGraph:
    """Return the plan of a query, with its logical plan as text."""
    outputs = [PlanOutput("result", _query(query, tables))]
    settings = PlanSettings(parallelism=parallelism)
    return plan_outputs(outputs, settings=settings, describe=True)


def save_rows(rows: pl.DataFrame, path: Path, format_: Format) -> None:
    """Write rows to a file, which gets its name when it is complete."""
    with replacing(path) as staged, _explaining(format_, path):
        _WRITERS[format_](rows, staged)


def stream_rows(rows: pl.DataFrame, format_: Format) -> None:
    """Write rows to standard output."""
    stream = io.BytesIO()
    with _explaining(format_, None):
        _STREAMERS[format_](rows, stream)
    write_rows([stream.getvalue()])


def print_rows(rows: pl.DataFrame) -> None:
    """Print rows as a JSON array, one row a line."""
    with _explaining("jsonl", None):
        lines = rows.write_ndjson().splitlines()
    write_rows([("[" + ",\n ".join(lines) + "]\n").encode()])


def show_rows(rows: pl.DataFrame, *, top: int) -> None:
    """Print the first rows as a table."""
    print_frame(rows.head(top))
    if rows.height > top:
        notes.print(f"{count_text(rows.height)} rows in all; --top N shows more")


@contextmanager
def _explaining(format_: Format, path: Path | None) -> Iterator[None]:
    try:
        yield
    except (PolarsError, PanicException) as error:
        msg = f"{format_} cannot hold these columns: {error}"
        hint = "Choose another format, or cast the columns in the query."
        file = None if path is None else str(path)
        raise UsageError(msg, code="MS-145", file=file, hint=hint) from error


def _query(query: str, tables: Sequence[str]) -> pl.LazyFrame:
    _check_statement(query)
    frames = {name: _scan(paths) for name, paths in _paths_by_name(tables).items()}
    try:
        frame = pl.SQLContext(frames, eager=False).execute(query)
        frame.collect_schema()
    except (PolarsError, PanicException) as error:
        names = ", ".join(frames) or "none; name one with --table NAME=PATH"
        paragraphs = str(error).split("\n\n")
        suggestions = [part for part in paragraphs if part.startswith("Did you mean")]
        msg = f"the query is not valid: {polars_reason(error)}"
        hint = " ".join([*suggestions, f"Tables are: {names}."])
        raise UsageError(msg, field="query", hint=hint) from error
    except FileNotFoundError as error:
        msg = f"there is no file for the query: {error}"
        raise UsageError(msg, field="query") from error
    return frame


def _check_statement(query: str) -> None:
    try:
        check_statement(query)
    except SqlRefusedError as error:
        explains = query.lstrip(" \t\n(").lower().startswith("explain")
        hint = "Add --explain to see the plan of a query." if explains else error.hint
        raise UsageError(error.message, code="MS-165", field="query", hint=hint) from None


def _paths_by_name(tables: Sequence[str]) -> dict[str, list[str]]:
    """Return the paths of each table; those that are given the same name are one table."""
    paths: dict[str, list[str]] = {}
    unnamed: set[str] = set()
    for table in tables:
        name, path, named = _split_name(table)
        if name in paths and (not named or name in unnamed):
            msg = f"two tables are named {name!r}"
            raise UsageError(msg, field="table", hint="Name both of them: --table NAME=PATH.")
        paths.setdefault(name, []).append(path)
        if not named:
            unnamed.add(name)
    return paths


def _split_name(table: str) -> tuple[str, str, bool]:
    name, equals, path = table.partition("=")
    if equals and name.isidentifier():
        return name, path, True
    stem = Path(table).name.partition(".")[0]
    if not stem.isidentifier():
        msg = f"{table!r} has no name that SQL can use"
        raise UsageError(msg, field="table", hint="Name it: --table NAME=PATH.")
    return stem, table, False


def _scan(paths: list[str]) -> pl.LazyFrame:
    try:
        if any(is_file_url(path) or is_remote(path) for path in paths):
            # Only Polars lists the files of a URL.
            format_, sources, hidden = ENDINGS.get(ending(paths[0]), "text"), paths, None
        else:
            found = [_files(path) for path in paths]
            format_ = format_of([file for each in found for file in each.files], paths[0])
            sources, hidden = polars_sources(found, parquet=format_ == "parquet")
    except UsageError as error:
        raise _with_path(paths[0], error) from error
    try:
        frame = _READERS[format_](sources, hidden)
        frame.collect_schema()
    except (PolarsError, PanicException, OSError) as error:
        msg = f"the table {paths[0]} cannot be read: {polars_reason(error)}"
        raise UsageError(msg, code="MS-168", file=paths[0]) from error
    return frame


def _files(path: str) -> InputFiles:
    absolute = os.path.normpath(Path(path).absolute())
    try:
        found = files_of(absolute, start=None if Path(path).is_absolute() else Path.cwd())
        if is_directory(absolute):
            check_same_format(found.files, path, directory=True)
    except UsageError as error:
        raise _with_path(path, error) from error
    if found.files and all(Path(file).exists() for file in found.files):
        return found
    empty = bool(empty_files(absolute))
    msg = f"the path {path} matches {'empty files only' if empty else 'no file'}"
    hint = None if empty else f"Relative paths start at {Path.cwd()}."
    raise UsageError(msg, code="MS-110", file=path, hint=hint)


def _with_path(path: str, error: UsageError) -> UsageError:
    """Return an error of `minispark.plan.input_paths`, which does not name the path."""
    info = error.info
    if info.message.startswith("the path "):
        return error
    verb = "" if info.code == "MS-168" else "cannot be read: "
    msg = f"the path {path} {verb}{info.message}"
    return UsageError(msg, code=info.code, file=info.file, hint=info.hint)
