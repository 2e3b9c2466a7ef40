"""What ``minispark demo`` does: one job on three engines, compared and timed in turns.

The engines take turns within each round, so that whatever else the machine does meets them all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from minispark.cli.baseline import PlainPolars
from minispark.cli.data import DEFAULT_SEED
from minispark.cli.datasets import WORDS_PER_LINE, write_lines
from minispark.cli.job_metrics import print_figures, print_stages
from minispark.cli.ready_jobs import wordcount_job
from minispark.cli.terminal import (
    count_text,
    counting_bar,
    duration_text,
    output,
    phase,
    print_table,
    rate_text,
)
from minispark.client.local_cluster import LocalCluster
from minispark.engines.base import raise_unless_succeeded
from minispark.engines.http import MasterClient
from minispark.engines.local import LocalRunner
from minispark.errors import JobFailedError
from minispark.formatting import bytes_words
from minispark.jobs import plan_job

WORKERS = 2
PLAIN = f"plain Polars, {WORKERS} threads"
EMBEDDED = f"embedded engine, {WORKERS} processes"
CLUSTER = f"cluster, master + {WORKERS} workers x 1 thread"

Run = Callable[[], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class _OnCluster:
    """Word count over REST, as any client would do it; remembers the job's id."""

    client: MasterClient
    job: Mapping[str, Any]
    ids: list[str]

    def __call__(self) -> pl.DataFrame:
        job_id = self.client.submit_json(self.job)
        self.ids.append(job_id)
        raise_unless_succeeded(self.client.wait(job_id))
        return self.client.result_frame(job_id)


def show(*, lines: int, runs: int) -> None:
    """Run the demo and print what came out."""
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
        on_cluster = _OnCluster(client, job, [])
        engines: dict[str, Run] = {
            CLUSTER: on_cluster,
            EMBEDDED: lambda: embedded.run(graph, name="wordcount").frame(),
        }
        with phase("comparing the results"):
            expected_file = scratch / "expected.parquet"
            plain.run("wordcount", path, output=expected_file)
            expected = _sorted(pl.read_parquet(expected_file))
            for name, run in engines.items():
                _check_equal(name, _sorted(run()), expected)
        times: dict[str, list[float]] = {name: [] for name in (PLAIN, *engines)}
        with counting_bar("timing", total=runs, unit="rounds") as advance:
            for _ in range(runs):
                times[PLAIN].append(plain.run("wordcount", path))
                for name, run in engines.items():
                    times[name].append(_timed(run))
                advance(1)
        rows, metrics = client.stages(on_cluster.ids[-1]), client.metrics(on_cluster.ids[-1])
    _print_top(expected)
    output.print(f"\nStages of the last run on the cluster ({on_cluster.ids[-1]})")
    print_stages(rows)
    print_figures(metrics)
    _print_times(times, lines)
    output.print(
        f"All three gave the same result, compared word by word: {count_text(expected.height)} "
        f"words, {count_text(int(expected['value'].sum()))} in all."
    )
    output.print("next: minispark master, and in another terminal minispark worker")


def _data_set(lines: int) -> Path:
    name = "benchmark_1m.csv" if lines == 1_000_000 else f"benchmark_{lines}.csv"
    path = Path("data") / name
    if not _has_lines(path, lines):
        with counting_bar(str(path), total=lines, unit="lines") as advance:
            write_lines(path, lines=lines, seed=DEFAULT_SEED, progress=advance)
    size = bytes_words(path.stat().st_size)
    words = count_text(lines * WORDS_PER_LINE)
    output.print_line(f"{path}: {count_text(lines)} lines, {words} words, {size}")
    return path


def _has_lines(path: Path, lines: int) -> bool:
    """Whether the file is there already; the header is a line too."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        found = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    return found == lines + 1


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select("key", pl.col("value").cast(pl.Int64)).sort("key")


def _check_equal(name: str, found: pl.DataFrame, expected: pl.DataFrame) -> None:
    if not found.equals(expected):
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
                duration_text(statistics.median(taken)),
                f"{min(taken):.2f} - {max(taken):.2f} s",
                rate_text(lines, statistics.median(taken)),
                f"{statistics.median(taken) / plain:.2f} x",
            )
            for name, taken in times.items()
        ],
        numbers=("median", "from - to", "input", "against plain Polars"),
    )
