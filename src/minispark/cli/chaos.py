"""``minispark chaos``: runs a user's job under faults and compares the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import AsJson, print_json


def chaos(
    job: Annotated[Path, typer.Argument(help="A JSON job.")],
    *,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the failures. Default: random, and printed.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=2, max=16, help="Number of workers in the cluster.")
    ] = 3,
    faults: Annotated[int, typer.Option(min=1, max=50, help="Number of failures to inject.")] = 5,
    json: AsJson = False,
) -> None:
    """Run a job twice, without and with injected failures, and compare the results.

    Failures kill, stop or disconnect workers, executors and the master, and delete blocks. The
    job's output goes to a temporary directory. Exit code 1 if the results differ.
    """
    import secrets
    import tempfile

    from minispark.cli.json_jobs import read_job
    from minispark.cli.terminal import notes, output
    from minispark.testing.chaos.trial import TrialSettings, try_job

    drawn_seed = secrets.randbelow(1 << 31) if seed is None else seed
    content = read_job(job)
    notes.print(f"seed {drawn_seed}: {faults} failures on {workers} workers")
    with tempfile.TemporaryDirectory(prefix="minispark-chaos-") as folder:
        verdict = try_job(
            content,
            TrialSettings(seed=drawn_seed, workers=workers, faults=faults),
            Path(folder),
            on_fault=lambda fault: notes.print(str(fault)),
        )
    wrong = (*verdict.differences, *(f"left behind: {leftover}" for leftover in verdict.leftovers))
    if json:
        print_json(
            {
                "seed": drawn_seed,
                "same": not verdict.differences,
                "rows": verdict.rows,
                "quiet_s": verdict.quiet.duration_s,
                "shaken_s": verdict.shaken.duration_s,
                "story": [str(fault) for fault in verdict.shaken.story],
                "attempts_lost": dict(verdict.shaken.failures),
                "wrong": list(wrong),
            }
        )
    else:
        lost = ", ".join(f"{n} {kind}" for kind, n in sorted(verdict.shaken.failures.items()))
        output.print(
            f"without failures {verdict.quiet.duration_s:.1f} s, with "
            f"{len(verdict.shaken.story)} of "
            f"{faults} failures {verdict.shaken.duration_s:.1f} s (attempts lost: {lost or 'none'})"
        )
        for line in wrong:
            output.print(f"WRONG {line}")
        if not wrong:
            output.print(f"the same result: {verdict.rows:,} rows (seed {drawn_seed})")
    if wrong:
        raise typer.Exit(1)
