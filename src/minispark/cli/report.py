"""``minispark report``: the page of a job as a file, or its timeline as a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import Force, Master, check_needs, connect
from minispark.printable import printable


def report(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `submit` printed.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: ID.html or ID.trace.json.", show_default=False),
    ] = None,
    force: Force = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Write a Chrome trace, for ui.perfetto.dev or speedscope."),
    ] = False,
    master: Master = None,
) -> None:
    """Save the page of a job as one HTML file that works without a master or network."""
    check_needs(context, "output", "force")
    import json

    from minispark.cli.outputs import check_replaceable, replacing
    from minispark.engines.report import report_of_job
    from minispark.ui import Timeline, trace_of

    if output is not None:
        check_replaceable(output, force=force)
    with connect(master) as client:
        job_id = client.find_job(job_id)
        if trace:
            timeline = client.get_json(f"/api/v1/jobs/{job_id}/timeline")
            text = json.dumps(trace_of(Timeline.model_validate(timeline)))
        else:
            text = report_of_job(client, job_id)
    target = output or Path(f"{job_id}.trace.json" if trace else f"{job_id}.html")
    with replacing(target) as staged:
        staged.write_text(text, encoding="utf-8")
    typer.echo(printable(str(target)))
