"""``minispark data``: the data sets of the examples and benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make data sets: the same bytes everywhere for the same seed.",
)

DEFAULT_SEED = 20_240_601

Lines = Annotated[int, typer.Option(min=1, help="Number of lines.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed gives other data.")]
Output = Annotated[Path, typer.Option(help="The file to write.")]


@app.command("test")
def make_test(
    lines: Lines = 10, seed: Seed = DEFAULT_SEED, output: Output = Path("data/test.csv")
) -> None:
    """Make a text file of 10 lines."""
    _make_text(output, lines, seed)


@app.command("large")
def make_large(
    lines: Lines = 10_000, seed: Seed = DEFAULT_SEED, output: Output = Path("data/large.csv")
) -> None:
    """Make a text file of 10,000 lines."""
    _make_text(output, lines, seed)


@app.command("1m")
def make_1m(
    lines: Lines = 1_000_000,
    seed: Seed = DEFAULT_SEED,
    output: Output = Path("data/benchmark_1m.csv"),
) -> None:
    """Make the benchmark's text: 1,000,000 lines of 12 words, 20,000 words by Zipf's law."""
    _make_text(output, lines, seed)


@app.command("join")
def make_join(
    lines: Lines = 100_000,
    seed: Seed = DEFAULT_SEED,
    output: Annotated[Path, typer.Option(help="The directory to write to.")] = Path("data"),
) -> None:
    """Make sales.csv and catalog.csv, which share the column product_id."""
    from minispark.cli.datasets import write_sales
    from minispark.cli.terminal import counting_bar

    with counting_bar("sales", total=lines, unit="rows") as advance:
        sales, catalog = write_sales(output, lines=lines, seed=seed, progress=advance)
    for path in (sales, catalog):
        _say_written(path)


def _make_text(output: Path, lines: int, seed: int) -> None:
    from minispark.cli.datasets import write_lines
    from minispark.cli.terminal import counting_bar

    with counting_bar(output.name, total=lines, unit="lines") as advance:
        write_lines(output, lines=lines, seed=seed, progress=advance)
    _say_written(output)


def _say_written(path: Path) -> None:
    from minispark.cli.terminal import bytes_text

    typer.echo(f"{path}  {bytes_text(path.stat().st_size)}")
