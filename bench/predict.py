"""Compare ``minispark predict`` with real runs, on local clusters of 1, 2 and 4 workers.

    python bench/predict.py [--lines 2000000] [--runs 3]

Word count runs on each warm cluster several times; the median run predicts all three. Workers have
one thread each. With more workers than cores the prediction is too short: it assumes a core each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.data import DEFAULT_SEED
from minispark.cli.datasets import write_lines
from minispark.cli.json_jobs import wordcount_job
from minispark.cli.terminal import phase, print_table
from minispark.client.local_cluster import LocalCluster
from minispark.observe.predict import Measured, measured, predict

WORKERS = (1, 2, 4)


def runs_on(workers: int, job: dict[str, object], runs: int) -> Measured:
    """Run a job on a cluster; return the median run, without the first one."""
    measurements = []
    with LocalCluster(workers=workers, threads=1) as cluster:
        for _ in range(runs + 1):
            job_id = cluster.client.submit_json(job)
            cluster.client.wait(job_id)
            measurements.append(measured(cluster.client.rows(job_id), job_id))
    return sorted(measurements[1:], key=lambda run: run.total_s)[runs // 2]


def main(
    *,
    lines: Annotated[int, typer.Option(min=1_000)] = 2_000_000,
    runs: Annotated[int, typer.Option(min=1)] = 3,
    parallelism: Annotated[int, typer.Option(min=1)] = 16,
) -> None:
    """Compare predictions with runs."""
    text = Path("data/bench") / f"text-{lines}.csv"
    if not text.exists():
        text.parent.mkdir(parents=True, exist_ok=True)
        write_lines(text, lines=lines, seed=DEFAULT_SEED)
    job = wordcount_job(str(text.absolute()), parallelism=parallelism)
    real: dict[int, Measured] = {}
    for workers in WORKERS:
        with phase(f"word count on {workers} workers"):
            real[workers] = runs_on(workers, job, runs)
    rows = []
    for source in WORKERS:
        for target in WORKERS:
            predicted_s = predict(real[source], workers=target, slots=1).total_s
            real_s = real[target].total_s
            rows.append(
                (
                    str(source),
                    str(target),
                    f"{predicted_s:.3f} s",
                    f"{real_s:.3f} s",
                    f"{100 * (predicted_s / real_s - 1):+.0f} %",
                )
            )
    print_table(
        ("measured on", "predicted for", "predicted", "real", "off by"),
        rows,
        numbers=("predicted", "real", "off by"),
    )


if __name__ == "__main__":
    typer.run(main)
