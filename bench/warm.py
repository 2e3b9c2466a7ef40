"""A warm cluster and one warm plain Polars process, in turns on this machine.

    python bench/warm.py [--runs 7] [--lines 1000000] [--sales 5000000] [--query wordcount ...]

The cluster is a master and two workers of one thread each; plain Polars has two threads and the
streaming engine. Each round runs both sides once, so other load slows both: compare ratios of one
run, not seconds of two runs. The results are compared before they are timed. Data is created in
data/bench on first use.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import polars as pl
import polars.testing
import typer

import minispark as ms
from minispark.cli.data import DEFAULT_SEED
from minispark.cli.datasets import write_lines, write_sales
from minispark.cli.plain_polars import QUERIES, PlainPolars
from minispark.cli.terminal import phase, print_table
from minispark.client.local_cluster import LocalCluster

WORKERS = 2


def data_sets(folder: Path, *, lines: int, sales: int) -> dict[str, tuple[Path, ...]]:
    """Create missing data sets; return the input files of each query."""
    text, tiny = folder / f"text-{lines}.csv", folder / "tiny.csv"
    joined = folder / f"join-{sales}"
    if not text.exists():
        write_lines(text, lines=lines, seed=DEFAULT_SEED)
    if not tiny.exists():
        write_lines(tiny, lines=3, seed=DEFAULT_SEED)
    if not (joined / "sales.csv").exists():
        write_sales(joined, lines=sales, seed=DEFAULT_SEED)
    return {
        "wordcount": (text,),
        "join": (joined / "sales.csv", joined / "catalog.csv"),
        "trivial": (tiny,),
    }


def check_equal(frame: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Raise if the rows differ; floats may differ in their last bits."""
    polars.testing.assert_frame_equal(
        frame, expected, check_row_order=False, rel_tol=1e-9, abs_tol=0.0
    )


def measure(
    query: str, paths: tuple[Path, ...], runs: int, *, plain: PlainPolars, engine: ms.Engine
) -> tuple[list[float], list[float]]:
    """Return the seconds of plain Polars and of the cluster, round by round."""
    paths = tuple(path.absolute() for path in paths)

    def on_cluster() -> pl.DataFrame:
        return QUERIES[query](*map(str, paths)).collect(engine=engine)

    with tempfile.TemporaryDirectory() as scratch:
        expected = Path(scratch) / "expected.parquet"
        plain.run(query, *paths, output=expected)
        check_equal(on_cluster(), pl.read_parquet(expected))
    cluster_s: list[float] = []
    plain_s: list[float] = []
    for _ in range(runs):
        plain_s.append(plain.run(query, *paths))
        start = time.perf_counter()
        on_cluster()
        cluster_s.append(time.perf_counter() - start)
    return plain_s, cluster_s


def spread(seconds: list[float]) -> str:
    """Return the median and the range."""
    middle = statistics.median(seconds)
    return f"{middle:.4f} s [{min(seconds):.4f} - {max(seconds):.4f}]"


def main(
    *,
    runs: Annotated[int, typer.Option(min=1)] = 7,
    lines: Annotated[int, typer.Option(min=1)] = 1_000_000,
    sales: Annotated[int, typer.Option(min=1)] = 5_000_000,
    query: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(QUERIES)}.")] = None,
) -> None:
    """Measure and print one table."""
    with phase("making data"):
        inputs = data_sets(Path("data/bench"), lines=lines, sales=sales)
    rows = []
    with ExitStack() as stack:
        plain = stack.enter_context(PlainPolars(threads=WORKERS))
        cluster = stack.enter_context(LocalCluster(workers=WORKERS, threads=1))
        engine = ms.Engine(cluster.url, token=cluster.token, progress=False)
        for name in query or list(inputs):
            with phase(name):
                plain_s, cluster_s = measure(name, inputs[name], runs, plain=plain, engine=engine)
            ratio = statistics.median(cluster_s) / statistics.median(plain_s)
            rows.append((name, spread(plain_s), spread(cluster_s), f"{ratio:.2f}"))
    print_table(
        ("query", "plain Polars, 2 threads", "cluster, 2 workers x 1 thread", "ratio"),
        rows,
        numbers=("ratio",),
    )


if __name__ == "__main__":
    typer.run(main)
