"""``top``: the cluster live in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from minispark.cli.options import AsJson, Master


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and leave.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, max=60.0, help="Seconds from one look to the next.")
    ] = 1.0,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Watch jobs, stages and workers live; q leaves. Off a terminal it prints them once."""
    from minispark.cli.job_metrics import print_json
    from minispark.cli.terminal import output
    from minispark.cli.top_frame import frame, look, width_for
    from minispark.cli.top_live import watch
    from minispark.engines.http import MasterClient

    with MasterClient(master) as client:
        seen = look(client)
        if json:
            print_json(seen.as_json())
        elif once or not output.is_terminal:
            width_for(output).print(frame(seen, height=None))
        else:
            watch(client, seen, interval_s=interval)
