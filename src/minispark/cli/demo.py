"""The demo: one job on three engines, compared and timed in turns.

The engines take turns in each round, so other load on the machine slows all of them down.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from minispark.cli.data import DEFAULT_SEED
from minispark.cli.datasets import WORDS_PER_LINE, write_lines
from minispark.cli.job_metrics import print_figures, print_stages
from minispark.cli.json_jobs import wordcount_job
from minispark.cli.plain_polars import PlainPolars
from minispark.cli.terminal import counting_bar, output, phase, print_hint, print_table
from minispark.client.local_cluster import LocalCluster
from minispark.engines.base import raise_unless_succeeded
from minispark.engines.local import LocalRunner
from minispark.errors import JobFailedError
from minispark.formatting import bytes_words, count_text, duration_text, rate_text
from minispark.jobs import plan_job

WORKERS = 2
PLAIN = f"plain Polars, {WORKERS} threads"
EMBEDDED = f"embedded engine, {WORKERS} processes"
CLUSTER = f"cluster, master + {WORKERS} workers x 1 thread"

Run = Callable[[], pl.DataFrame]


def show(*, lines: int, runs: int) -> None:
    """Run the demo and print the results."""
    path = _data_set(lines)
    job = wordcount_job(str(path.absolute()))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="minispark-demo-")))
        with phase("starting a master and two workers"):
            plain = stack.enter_context(PlainPolars(threads=WORKERS))
            embedded = stack.enter_context(LocalRunner(WORKERS))
            cluster = stack.enter_context(LocalCluster(workers=WORKERS, threads=1))
            client = cluster.client
        graph = plan_job(job)
        job_ids: list[str] = []

        def run_on_cluster() -> pl.DataFrame:
            job_ids.append(client.submit_json(job))
            raise_unless_succeeded(client.wait(job_ids[-1]), page=client.page(job_ids[-1]))
            return client.result_frame(job_ids[-1])

        engines: dict[str, Run] = {
            CLUSTER: run_on_cluster,
            EMBEDDED: lambda: embedded.run(graph, name="wordcount").frame(),
        }
        with phase("comparing the results"):
            expected_file = scratch / "expected.parquet"
            plain.run("wordcount", path, output=expected_file)
            expected = _sorted(pl.read_parquet(expected_file))
            for name, run in engines.items():
                _check_equal(name, _sorted(run()), expected)
        times: dict[str, list[float]] = {name: [] for name in (PLAIN, *engines)}
        with counting_bar("timing", total=runs, unit="rounds") as progress:
            for done in range(1, runs + 1):
                times[PLAIN].append(plain.run("wordcount", path))
                for name, run in engines.items():
                    times[name].append(_timed(run))
                progress(done)
        rows, metrics = client.stages(job_ids[-1]), client.metrics(job_ids[-1])
    _print_top(expected)
    output.print(f"\nStages of the last run on the cluster ({job_ids[-1]})")
    print_stages(rows)
    print_figures(metrics)
    _print_times(times, lines)
    output.print(
        f"All three gave the same result, compared word by word: {count_text(expected.height)} "
        f"words, {count_text(int(expected['value'].sum()))} in all."
    )
    print_hint("next: minispark master, and in another terminal minispark worker")


def _data_set(lines: int) -> Path:
    name = "benchmark_1m.csv" if lines == 1_000_000 else f"benchmark_{lines}.csv"
    path = Path("data") / name
    if not _has_lines(path, lines):
        with counting_bar(str(path), total=lines, unit="lines") as progress:
            write_lines(path, lines=lines, seed=DEFAULT_SEED, progress=progress)
    size = bytes_words(path.stat().st_size)
    words = count_text(lines * WORDS_PER_LINE)
    output.print_line(f"{path}: {count_text(lines)} lines, {words} words, {size}")
    return path


def _has_lines(path: Path, lines: int) -> bool:
    """Whether the file exists with this number of lines; its header is one more."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        ends = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    return ends == lines + 1


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select("key", pl.col("value").cast(pl.Int64)).sort("key")


def _check_equal(name: str, counts: pl.DataFrame, expected: pl.DataFrame) -> None:
    if not counts.equals(expected):
        msg = f"{name} and plain Polars count differently; please report this"
        raise JobFailedError(msg)


def _timed(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _print_top(counts: pl.DataFrame) -> None:
    top = counts.sort("value", "key", descending=[True, False]).head(5)
    print_table(
        ("word", "count"),
        [(word, count_text(count)) for word, count in top.iter_rows()],
        numbers=("count",),
    )


def _print_times(times: Mapping[str, list[float]], lines: int) -> None:
    plain = statistics.median(times[PLAIN])
    rounds = len(times[PLAIN])
    output.print(f"\nJob to result in hand, warm, median of {rounds} rounds in turns")
    print_table(
        ("engine", "median", "from - to", "input", "against plain Polars"),
        [
            (
                name,
                duration_text(median := statistics.median(seconds)),
                f"{min(seconds):.2f} - {max(seconds):.2f} s",
                rate_text(lines, median),
                f"{median / plain:.2f} x",
            )
            for name, seconds in times.items()
        ],
        numbers=("median", "from - to", "input", "against plain Polars"),
    )
