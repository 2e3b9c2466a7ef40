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
        int | None, typer.Option(min=0, help="Decides what happens; else drawn, and printed.")
    ] = None,
    workers: Annotated[int, typer.Option(min=2, max=16, help="Workers of the cluster.")] = 3,
    faults: Annotated[int, typer.Option(min=1, max=50, help="How many things go wrong.")] = 5,
    json: AsJson = False,
) -> None:
    """Run a job on a local cluster once in peace and once under faults; compare the answers.

    Workers, executors and the master are killed, stopped and cut off, blocks are lost. What the
    job would write goes to a temporary directory. Leaves with 1 if the answers differ.
    """
    import secrets
    import tempfile

    from minispark.cli.json_jobs import read_job
    from minispark.cli.terminal import notes, output
    from minispark.testing.chaos.trial import TrialSettings, try_job

    drawn_seed = secrets.randbelow(1 << 31) if seed is None else seed
    content = read_job(job)
    notes.print(f"seed {drawn_seed}: {faults} faults on {workers} workers")
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
            f"in peace {verdict.quiet.duration_s:.1f} s, under {len(verdict.shaken.story)} of "
            f"{faults} faults {verdict.shaken.duration_s:.1f} s (attempts lost: {lost or 'none'})"
        )
        for line in wrong:
            output.print(f"WRONG {line}")
        if not wrong:
            output.print(f"the same answer: {verdict.rows:,} rows (seed {drawn_seed})")
    if wrong:
        raise typer.Exit(1)
