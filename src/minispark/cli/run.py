"""``minispark run``: ready-made jobs, on this machine or on a cluster; and ``minispark demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from minispark.cli.options import (
    AsJson,
    EngineName,
    Force,
    Parallelism,
    check_needs,
    check_together,
)

if TYPE_CHECKING:
    from minispark.cli.json_jobs import OutputDirectory

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Run a built-in job and show its metrics."
)

PATHS = "a file, a directory, or a pattern in quotes. The file extension gives the format."
Output = Annotated[
    Path | None, typer.Option(help="A directory to write the result to, as CSV parts.")
]
_OTHER_ENDINGS = frozenset(
    {".arrow", ".feather", ".ipc", ".json", ".jsonl", ".ndjson", ".parquet", ".xls", ".xlsx"}
)
Top = Annotated[int, typer.Option(min=0, help="Rows to show.")]


@app.command()
def wordcount(
    context: typer.Context,
    path: Annotated[
        list[str], typer.Argument(help=f"Text, CSV, JSONL or Parquet: {PATHS} May be repeated.")
    ],
    *,
    column: Annotated[
        str | None,
        typer.Option(help="The column to count. Default: text, or the only text column."),
    ] = None,
    engine: EngineName = "local",
    output: Output = None,
    force: Force = False,
    parallelism: Parallelism = None,
    top: Top = 10,
    json: AsJson = False,
) -> None:
    """Count the words of text files, or of a column of a table."""
    from minispark.cli.execution import run_and_show
    from minispark.cli.json_jobs import absolute, one_or_list, wordcount_job
    from minispark.cli.words import words_of

    paths, directory = [absolute(each) for each in path], _directory(context, output, force=force)
    words = words_of(paths, column, advice="Choose one, such as --column {column}.")
    job = wordcount_job(
        one_or_list(paths), column=words.column, parallelism=parallelism, output=directory
    )
    run_and_show(
        job,
        engine=engine,
        top=top,
        order_by="value",
        about=words,
        as_json=json,
    )


@app.command()
def join(
    context: typer.Context,
    left: Annotated[str, typer.Argument(help=f"CSV, JSONL or Parquet: {PATHS}")],
    right: Annotated[str, typer.Argument(help="The table to join it with.")],
    *,
    on: Annotated[list[str], typer.Option(help="The key column; may be repeated.")],
    how: Annotated[
        Literal["inner", "left", "right", "full", "semi", "anti"],
        typer.Option(help="Which rows without a match are kept."),
    ] = "inner",
    engine: EngineName = "local",
    output: Output = None,
    force: Force = False,
    parallelism: Parallelism = None,
    top: Top = 10,
    json: AsJson = False,
) -> None:
    """Join two tables by a key."""
    from minispark.cli.execution import run_and_show
    from minispark.cli.json_jobs import absolute, join_job

    job = join_job(
        absolute(left),
        absolute(right),
        on=on,
        how=how,
        parallelism=parallelism,
        output=_directory(context, output, force=force),
    )
    run_and_show(job, engine=engine, top=top, as_json=json)


def _directory(
    context: typer.Context, output: Path | None, *, force: bool
) -> OutputDirectory | None:
    from minispark.cli.json_jobs import OutputDirectory, absolute
    from minispark.errors import UsageError

    check_needs(context, "output", "force")
    check_together(context, "output", "top")
    if output is None:
        return None
    ending = output.suffix.lower()
    if ending in _OTHER_ENDINGS:
        msg = f"the output is a directory of CSV files, and {output.name} ends in {ending}"
        hint = "Name a directory; `minispark results` and `minispark sql` write single files."
        raise UsageError(msg, field="output", file=str(output), hint=hint)
    return OutputDirectory(absolute(output), overwrite=force)


def demo(
    *,
    lines: Annotated[int, typer.Option(min=10, help="Lines of text to count.")] = 1_000_000,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each side.")] = 5,
) -> None:
    """Count words on the embedded engine and on a real local cluster, beside plain Polars."""
    from minispark.cli.demo import show

    show(lines=lines, runs=runs)
