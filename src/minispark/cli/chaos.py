"""``minispark chaos``: a job of one's own under faults, and whether the answer is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import AsJson


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

    from minispark.cli.job_files import read_job
    from minispark.cli.job_metrics import print_json
    from minispark.cli.terminal import notes, output
    from minispark.testing.chaos.trial import TrialSettings, try_job

    chosen = secrets.randbelow(1 << 31) if seed is None else seed
    content = read_job(job)
    notes.print(f"seed {chosen}: {faults} faults on {workers} workers")
    with tempfile.TemporaryDirectory(prefix="minispark-chaos-") as folder:
        verdict = try_job(
            content,
            TrialSettings(seed=chosen, workers=workers, faults=faults),
            Path(folder),
            on_happening=lambda happening: notes.print(str(happening)),
        )
    wrong = (*verdict.differences, *(f"left behind: {what}" for what in verdict.leftovers))
    if json:
        print_json(
            {
                "seed": chosen,
                "same": not verdict.differences,
                "rows": verdict.rows,
                "quiet_s": verdict.quiet.duration_s,
                "shaken_s": verdict.shaken.duration_s,
                "story": [str(happening) for happening in verdict.shaken.story],
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
            output.print(f"the same answer: {verdict.rows:,} rows (seed {chosen})")
    if wrong:
        raise typer.Exit(1)
