"""``minispark run``: ready-made jobs, on this machine or on a cluster; and ``minispark demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from minispark.cli.options import AsJson, EngineName, Parallelism

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Run a ready-made job and show its figures."
)

Output = Annotated[
    Path | None, typer.Option(help="A directory to write the result to, as CSV parts.")
]
Top = Annotated[int, typer.Option(min=0, help="Rows to show.")]


@app.command()
def wordcount(
    path: Annotated[str, typer.Argument(help="A text, CSV, JSONL or Parquet file, or a glob.")],
    *,
    engine: EngineName = "local",
    output: Output = None,
    parallelism: Parallelism = None,
    top: Top = 10,
    json: AsJson = False,
) -> None:
    """Count the words of a text file, or of a table's text column."""
    from minispark.cli.execution import run_and_show
    from minispark.cli.json_jobs import absolute, wordcount_job

    job = wordcount_job(
        absolute(path), parallelism=parallelism, output=absolute(output) if output else None
    )
    run_and_show(job, engine=engine, top=top, order_by="value", as_json=json)


@app.command()
def join(
    left: Annotated[str, typer.Argument(help="A CSV, JSONL or Parquet file, or a glob.")],
    right: Annotated[str, typer.Argument(help="The same, to join it with.")],
    *,
    on: Annotated[list[str], typer.Option(help="The key column; may be repeated.")],
    how: Annotated[
        Literal["inner", "left", "right", "full", "semi", "anti"],
        typer.Option(help="Which rows without a match are kept."),
    ] = "inner",
    engine: EngineName = "local",
    output: Output = None,
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
        output=absolute(output) if output else None,
    )
    run_and_show(job, engine=engine, top=top, as_json=json)


def demo(
    *,
    lines: Annotated[int, typer.Option(min=10, help="Lines of text to count.")] = 1_000_000,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each side.")] = 5,
) -> None:
    """Count words on the embedded engine and on a real local cluster, beside plain Polars."""
    from minispark.cli.demo import show

    show(lines=lines, runs=runs)
