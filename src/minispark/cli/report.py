"""``minispark report``: the page of a job as a file, or its timeline as a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minispark.cli.options import Force, Master, check_needs, connect
from minispark.printable import printable, printable_lines

if TYPE_CHECKING:
    from minispark.engines.http import MasterClient
    from minispark.ui import StoryDocument

_MAX_STEPS = 5_000
"""Maximum of steps in a file, about 3 MB; `minispark replay` shows all steps."""


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
    from minispark.ui import JobPage, Timeline, report_html, trace_of

    if output is not None:
        check_replaceable(output, force=force)
    with connect(master) as client:
        job_id = client.find_job(job_id)
        path = f"/api/v1/jobs/{job_id}"
        timeline = Timeline.model_validate(client.get_json(f"{path}/timeline"))
        if trace:
            text = json.dumps(trace_of(timeline))
        else:
            page = JobPage.model_validate(client.get_json(f"{path}/sheet"))
            # Printable, since `cat` would send control characters to a terminal.
            text = printable_lines(report_html(page, timeline, _story(client, path)))
    target = output or Path(f"{job_id}.trace.json" if trace else f"{job_id}.html")
    with replacing(target) as staged:
        staged.write_text(text, encoding="utf-8")
    typer.echo(printable(str(target)))


def _story(client: MasterClient, path: str) -> StoryDocument:
    """Return the story of a job, fetched page by page."""
    from minispark.ui import StoryDocument

    story = StoryDocument.model_validate(client.get_json(f"{path}/story"))
    while len(story.steps) < min(story.total, _MAX_STEPS):
        page = client.get_json(f"{path}/story", step=len(story.steps) + 1)
        steps = StoryDocument.model_validate(page).steps
        if not steps:
            break
        story.steps += steps
    return story
