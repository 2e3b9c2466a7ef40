"""``minispark sql``: a query over files, on any engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import AsJson, EngineName, Format, Parallelism
from minispark.printable import printable


def sql(
    query: Annotated[str, typer.Argument(help="A SELECT, or WITH ... SELECT.")],
    *,
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="A table: a file, a directory, or a pattern in quotes. The format is known from "
            "the ending. May be repeated; the same NAME again adds files to the table. Default "
            "NAME: the name of the file.",
        ),
    ] = None,
    engine: EngineName = "local",
    parallelism: Parallelism = None,
    top: Annotated[int, typer.Option(min=0, help="Rows to show.")] = 20,
    output: Annotated[
        Path | None, typer.Option(help="A file to write all rows to, in place of showing some.")
    ] = None,
    format: Annotated[  # noqa: A002
        Format | None, typer.Option(help="Of the file; else by its ending, or csv.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the plan and its stages; run nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Run SQL over files: minispark sql "select k, sum(v) from t group by k" --table t=data.csv."""
    from minispark.cli.queries import explain_query, run_query, save_rows, show_rows

    if explain:
        typer.echo(explain_query(query, table or [], parallelism=parallelism))
        return
    rows = run_query(query, table or [], engine=engine, parallelism=parallelism)
    if output is not None:
        save_rows(rows, output, format)
        typer.echo(printable(str(output)))
    else:
        show_rows(rows, top=top, as_json=json)
