"""``doctor``: looks at this machine and says what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import AsJson, Master


def doctor(
    *,
    master: Master = None,
    master_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="The port that a master would take.")
    ] = 8080,
    worker_port: Annotated[
        int, typer.Option(min=1, max=64_535, help="The port that a worker would take.")
    ] = 9000,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where a worker would keep blocks; else in the state directory.",
            show_default=False,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Look at this machine: versions, limits, memory, disk, ports, clock, secret, master."""
    from dataclasses import asdict

    from minispark import config
    from minispark.cli.examine import CheckStatus, DoctorInput, examine
    from minispark.cli.job_metrics import print_json
    from minispark.cli.terminal import output

    state = config.state_dir()
    found = examine(
        DoctorInput(
            state_dir=state,
            work_dir=work_dir or state / "work",
            ports=(master_port, worker_port, worker_port + 1000),
            master=master,
        )
    )
    bad = any(one.verdict is CheckStatus.FAIL for one in found)
    if json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            style = {"OK": "green", "WARN": "yellow", "FAIL": "red"}[one.verdict]
            output.print(f"{one.verdict:<5}", style=style, end="")
            output.print_line(f"{one.what:<12}{one.said}")
            if one.mend:
                output.print_line(f"     mend: {one.mend}")
        output.print("something has to be mended" if bad else "fit to run")
    if bad:
        raise typer.Exit(1)
