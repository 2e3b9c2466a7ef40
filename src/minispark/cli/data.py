"""``minispark data``: the data sets of the examples and benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import AsJson, print_json

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Generate data sets. The same seed always gives the same bytes.",
)

DEFAULT_SEED = 20_240_601

Lines = Annotated[int, typer.Option(min=1, help="Number of lines.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random data.")]
Output = Annotated[Path, typer.Option(help="The file to write.")]


def _add_text(name: str, file: str, number: int, text: str) -> None:
    @app.command(name, help=text)
    def make(
        *,
        lines: Lines = number,
        seed: Seed = DEFAULT_SEED,
        output: Output = Path("data") / file,
        json: AsJson = False,
    ) -> None:
        from minispark.cli.datasets import write_lines
        from minispark.cli.terminal import counting_bar

        with counting_bar(output.name, total=lines, unit="lines") as progress:
            write_lines(output, lines=lines, seed=seed, progress=progress)
        _print_sizes([output], as_json=json)


_add_text("test", "test.csv", 10, "Make a text file of 10 lines.")
_add_text("large", "large.csv", 10_000, "Make a text file of 10,000 lines.")
_BENCHMARK = "Make the benchmark's text: 1,000,000 lines of 12 words, 20,000 words by Zipf's law."
_add_text("1m", "benchmark_1m.csv", 1_000_000, _BENCHMARK)


@app.command("join")
def make_join(
    *,
    lines: Lines = 100_000,
    seed: Seed = DEFAULT_SEED,
    output: Annotated[Path, typer.Option(help="The directory to write to.")] = Path("data"),
    json: AsJson = False,
) -> None:
    """Make sales.csv and catalog.csv, which share the column product_id."""
    from minispark.cli.datasets import write_sales
    from minispark.cli.terminal import counting_bar

    with counting_bar("sales", total=lines, unit="rows") as progress:
        sales, catalog = write_sales(output, lines=lines, seed=seed, progress=progress)
    _print_sizes([sales, catalog], as_json=json)


def _print_sizes(paths: list[Path], *, as_json: bool) -> None:
    from minispark.cli.terminal import output
    from minispark.formatting import bytes_words

    sizes = {str(path): path.stat().st_size for path in paths}
    if as_json:
        print_json([{"path": path, "bytes": size} for path, size in sizes.items()])
        return
    for path, size in sizes.items():
        output.print_line(f"{path}  {bytes_words(size)}")
