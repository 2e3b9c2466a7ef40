"""SQL from the command line: read tables from files, run a query, print or save its rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import polars as pl
from polars.exceptions import PanicException, PolarsError

from minispark.cli.job_metrics import print_frame
from minispark.cli.json_jobs import ending
from minispark.cli.options import master_of
from minispark.cli.terminal import notes, write_rows
from minispark.engines.polars_engine import Engine
from minispark.errors import UsageError
from minispark.formatting import count_text
from minispark.jobs.errors import polars_reason
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.explain import render
from minispark.plan.scan_files import is_file_url
from minispark.plan.sqltext import SqlRefusedError, check_statement
from minispark.settings import PlanSettings

_READERS: Final[dict[str, Callable[[str], pl.LazyFrame]]] = {
    ".csv": lambda path: pl.scan_csv(path, try_parse_dates=True),
    ".tsv": lambda path: pl.scan_csv(path, separator="\t", try_parse_dates=True),
    ".jsonl": pl.scan_ndjson,
    ".ndjson": pl.scan_ndjson,
    ".parquet": pl.scan_parquet,
    ".arrow": pl.scan_ipc,
    ".ipc": pl.scan_ipc,
    ".feather": pl.scan_ipc,
    ".txt": lambda path: pl.scan_lines(path, name="text"),
}
_WRITERS: Final[dict[str, Callable[[pl.DataFrame, Path], object]]] = {
    "csv": lambda rows, path: rows.write_csv(path),
    "jsonl": lambda rows, path: rows.write_ndjson(path),
    "parquet": lambda rows, path: rows.write_parquet(path),
    "arrow": lambda rows, path: rows.write_ipc(path),
}
_ENDINGS: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
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
    return frame.collect(engine=Engine(master_of(engine), parallelism=parallelism))


def explain_query(query: str, tables: Sequence[str], *, parallelism: int | None) -> str:
    """Return the plan of a query as text."""
    outputs = [PlanOutput("result", _query(query, tables))]
    settings = PlanSettings(parallelism=parallelism)
    return render(plan_outputs(outputs, settings=settings, describe=True))


def save_rows(rows: pl.DataFrame, path: Path, format_: str | None) -> None:
    """Write rows to a file, which gets its name when it is complete."""
    form = format_ or _ENDINGS.get(path.suffix.lower(), "csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        _WRITERS[form](rows, staged)
        staged.replace(path)
    except (PolarsError, PanicException) as error:
        msg = f"{form} cannot hold these columns: {error}"
        hint = "Choose another format, or cast the columns in the query."
        raise UsageError(msg, file=str(path), hint=hint) from error
    finally:
        staged.unlink(missing_ok=True)


def show_rows(rows: pl.DataFrame, *, top: int, as_json: bool) -> None:
    """Print the first rows as a table, or all rows as JSON lines."""
    if as_json:
        write_rows([rows.write_ndjson().encode()])
        return
    print_frame(rows.head(top))
    if rows.height > top:
        notes.print(f"{count_text(rows.height)} rows in all; --top N shows more")


def _query(query: str, tables: Sequence[str]) -> pl.LazyFrame:
    _check_statement(query)
    frames: dict[str, pl.LazyFrame] = {}
    for table in tables:
        name, path = _split_name(table)
        if name in frames:
            msg = f"there are two tables {name!r}"
            raise UsageError(msg, field="table", hint="Name one of them: --table NAME=PATH.")
        frames[name] = _scan(path)
    try:
        frame = pl.SQLContext(frames, eager=False).execute(query)
        frame.collect_schema()
    except (PolarsError, PanicException) as error:
        names = ", ".join(frames) or "none; name one with --table NAME=PATH"
        paragraphs = str(error).split("\n\n")
        suggestions = [part for part in paragraphs if part.startswith("Did you mean")]
        msg = f"the query cannot be understood: {polars_reason(error)}"
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


def _split_name(table: str) -> tuple[str, str]:
    name, equals, path = table.partition("=")
    if equals and name.isidentifier():
        return name, path
    stem = Path(table).name.partition(".")[0]
    if not stem.isidentifier():
        msg = f"{table!r} has no name that SQL could use"
        raise UsageError(msg, field="table", hint="Name it: --table NAME=PATH.")
    return stem, table


def _scan(path: str) -> pl.LazyFrame:
    if Path(path).is_dir():
        endings = sorted({ending(child) for child in Path(path).iterdir()} & _READERS.keys())
        path = str(Path(path) / f"*{endings[0] if endings else ''}")
    reader = _READERS.get(ending(Path(path)))
    if reader is None:
        msg = f"the kind of {path} is not known from its name"
        raise UsageError(msg, file=path, hint=f"Endings are: {', '.join(_READERS)}.")
    try:
        frame = reader(path if is_file_url(path) else str(Path(path).absolute()))
        frame.collect_schema()
    except (PolarsError, PanicException, OSError) as error:
        msg = f"the table {path} cannot be read: {error}"
        raise UsageError(msg, code="MS-110", file=path) from error
    return frame
