"""Tasks per second on a real master and two workers: the cost of the engine itself.

    python bench/throughput.py [--runs 3] [--tasks 20000] [--files 2000]

``no-op`` tasks have no Polars query: they cost only master, network, workers and pipes. ``small
file`` tasks each read one CSV file of a few rows and write one block. The client is this process; a
job takes from its submission until the client sees its end.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from minispark.cli.terminal import phase, print_table
from minispark.client.local_cluster import LocalCluster
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ResultSpec,
    Stage,
    StageGraph,
)
from minispark.settings import PlanSettings
from minispark.task.run import NO_FRAGMENT

WORKERS = 2


def no_op(tasks: int) -> StageGraph:
    """Return a job of tasks that do nothing."""
    stage = Stage(
        id=0,
        name="no-op",
        branches=(Branch(NO_FRAGMENT, tasks),),
        output=Output(OutputKind.SINGLE),
        label=Label.DETERMINATE,
    )
    return StageGraph(stages=(stage,), results=(ResultSpec("no-op", 0, ()),))


def small_files(folder: Path, count: int) -> StageGraph:
    """Write small CSV files and return a job with one task for each."""
    frame = pl.DataFrame({"key": range(8), "text": ["a few words"] * 8})
    for number in range(count):
        frame.write_csv(folder / f"{number:06d}.csv")
    query = pl.scan_csv(folder / "*.csv").filter(pl.col("key") > 1)
    settings = PlanSettings(parallelism=count, split_bytes=1, single_task_bytes=0)
    graph = plan_outputs([PlanOutput("rows", query)], settings=settings)
    tasks = max(stage.partitions for stage in graph.stages)
    if tasks != count:
        msg = f"{tasks} tasks were planned for {count} files"
        raise AssertionError(msg)
    return graph


def main(
    *,
    runs: Annotated[int, typer.Option(min=1)] = 3,
    tasks: Annotated[int, typer.Option(min=1)] = 20_000,
    files: Annotated[int, typer.Option(min=1)] = 2_000,
) -> None:
    """Print tasks per second, the median of several runs."""
    rows = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalCluster(workers=WORKERS, threads=1) as cluster,
    ):
        for name, graph, count in (
            ("no-op", no_op(tasks), tasks),
            ("small file", small_files(Path(scratch), files), files),
        ):
            with phase(f"{name} tasks"):
                seconds = []
                for _ in range(runs + 1):
                    start = time.perf_counter()
                    job = cluster.client.submit_planned(graph, name=name)
                    view = cluster.client.wait(job)
                    seconds.append(time.perf_counter() - start)
                    if view.error is not None:
                        raise AssertionError(view.error.message)
            median_s = statistics.median(seconds[1:])
            rows.append((name, f"{count:,}", f"{median_s:.2f} s", f"{count / median_s:,.0f}"))
    print_table(("tasks", "number", "time", "tasks/s"), rows)


if __name__ == "__main__":
    typer.run(main)
