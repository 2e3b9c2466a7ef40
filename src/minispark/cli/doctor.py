"""``minispark doctor``: checks this machine and says what to fix."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import AsJson, Master, print_json


def doctor(
    *,
    master: Master = None,
    master_port: Annotated[int, typer.Option(min=1, max=65_535, help="Port for a master.")] = 8080,
    worker_port: Annotated[int, typer.Option(min=1, max=64_535, help="Port for a worker.")] = 9000,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Directory for a worker's blocks. Default: in the state directory.",
            show_default=False,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Check this machine: versions, limits, memory, disk, ports, clock, secret, master."""
    from dataclasses import asdict

    from minispark import config
    from minispark.cli.examine import CheckStatus, DoctorInput, examine
    from minispark.cli.terminal import output, print_hint

    state = config.state_dir()
    results = examine(
        DoctorInput(
            state_dir=state,
            work_dir=work_dir or state / "work",
            ports=(master_port, worker_port, worker_port + 1000),
            master=master,
        )
    )
    failed = any(result.verdict is CheckStatus.FAIL for result in results)
    if json:
        print_json([asdict(result) for result in results])
    else:
        for result in results:
            style = {"OK": "green", "WARN": "yellow", "FAIL": "red"}[result.verdict]
            output.print(f"{result.verdict:<5}", style=style, end="")
            output.print_line(f"{result.what:<12}{result.said}")
            if result.mend:
                print_hint(f"     fix: {result.mend}")
        output.print("there are problems to fix" if failed else "ready to run")
    if failed:
        raise typer.Exit(1)
