"""``minispark sql``: a query over files, on any engine."""

from __future__ import annotations

from typing import Annotated

import typer

from minispark.cli.options import (
    AsJson,
    EngineName,
    Force,
    FormatOption,
    OutputFile,
    Parallelism,
    check_needs,
    check_together,
    is_given,
    print_json,
)
from minispark.printable import printable


def sql(
    context: typer.Context,
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
    top: Annotated[
        int, typer.Option(min=0, help="Rows to show; --json and --format give all by default.")
    ] = 20,
    output: OutputFile = None,
    format: FormatOption = None,  # noqa: A002
    force: Force = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the plan and its stages; run nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Run SQL over files: minispark sql "select k, sum(v) from t group by k" --table t=data.csv."""
    check_needs(context, "output", "force")
    check_together(context, "top", "output")
    if output is None:
        check_together(context, "json", "format")
    for name in ("top", "output", "format", "engine"):
        check_together(context, "explain", name)
    from minispark.cli.json_jobs import plan_document
    from minispark.cli.outputs import check_replaceable, output_format
    from minispark.cli.queries import (
        plan_query,
        print_rows,
        run_query,
        save_rows,
        show_rows,
        stream_rows,
    )
    from minispark.plan.explain import render

    if explain:
        graph = plan_query(query, table or [], parallelism=parallelism)
        if json:
            print_json(plan_document(graph))
        else:
            typer.echo(render(graph))
        return
    chosen = output_format(output, format)
    if output is not None:
        check_replaceable(output, force=force)
    rows = run_query(query, table or [], engine=engine, parallelism=parallelism)
    if output is not None:
        save_rows(rows, output, chosen)
        if json:
            print_json({"output": str(output), "format": chosen, "rows": rows.height})
        else:
            typer.echo(printable(str(output)))
        return
    first = rows.head(top) if is_given(context, "top") else rows
    if json:
        print_rows(first)
    elif format is not None:
        stream_rows(first, chosen)
    else:
        show_rows(rows, top=top)
