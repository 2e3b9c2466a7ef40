"""Commands for a running master: its jobs, workers and results, ``top`` and ``ui``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minispark.cli.options import (
    AsJson,
    Force,
    Format,
    FormatOption,
    Master,
    OutputFile,
    check_needs,
    check_together,
    connect,
    print_json,
)
from minispark.printable import printable

if TYPE_CHECKING:
    from minispark.engines.http import MasterClient

JobId = Annotated[
    str, typer.Argument(metavar="ID", help="A job: its id, or the end of it such as 1-7.")
]


def status(
    job_id: JobId,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show progress until the job has ended.")
    ] = False,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show the status of a job and its stages."""
    from functools import partial

    from minispark.cli.job_metrics import print_job, print_why
    from minispark.cli.remote import wait_for

    with connect(master) as client:
        job_id = client.find_job(job_id)
        follow = partial(wait_for, client, quiet=json, owner=False)
        view = (follow if watch else client.job)(job_id)
        rows, advice = client.stages(job_id), client.why(job_id)
    if json:
        lists = {"rows": [r.model_dump() for r in rows], "why": [a.model_dump() for a in advice]}
        print_json(view.model_dump(mode="json") | lists)
    else:
        print_job(view, rows)
        print_why(advice)


def jobs(
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="Show at most N.")] = None,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """List the jobs that the master knows."""
    from minispark.cli.job_metrics import print_jobs
    from minispark.clock import wall_s

    with connect(master) as client:
        views = client.jobs(limit=limit)
    if json:
        print_json([view.model_dump(mode="json") for view in views])
    else:
        print_jobs(views, now=wall_s())


def workers(*, master: Master = None, json: AsJson = False) -> None:
    """List the workers with their load."""
    from minispark.cli.job_metrics import print_workers

    with connect(master) as client:
        rows = client.workers()
    if json:
        print_json(rows)
    else:
        print_workers(rows)


def results(
    context: typer.Context,
    job_id: JobId,
    *,
    output: OutputFile = None,
    format: FormatOption = None,  # noqa: A002
    force: Force = False,
    node: Annotated[
        str | None, typer.Option(help="Node whose result to download, if the job has several.")
    ] = None,
    master: Master = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print where the result is, in JSON; download nothing.")
    ] = False,
) -> None:
    """Download a job's result."""
    check_needs(context, "output", "force")
    for name in ("output", "format", "node"):
        check_together(context, "json", name)
    if json:
        with connect(master) as client:
            print_json(client.get_json(f"/api/v1/jobs/{client.find_job(job_id)}/results"))
        return
    from minispark.cli.outputs import check_replaceable, output_format
    from minispark.cli.terminal import write_rows

    chosen = output_format(output, format)
    if output is not None:
        check_replaceable(output, force=force)
    with connect(master) as client:
        job_id = client.find_job(job_id)
        if output is None:
            with client.results(job_id, format=chosen, node=node) as response:
                write_rows(response.iter_bytes(1 << 20))
        else:
            _download(client, job_id, output, format_=chosen, node=node)
            typer.echo(printable(str(output)))


def _download(
    client: MasterClient, job_id: str, output: Path, *, format_: Format, node: str | None
) -> None:
    from minispark.cli.outputs import replacing, write_arrow_file

    output.parent.mkdir(parents=True, exist_ok=True)
    if format_ != "arrow":
        client.save_results(job_id, output, format=format_, node=node)
        return
    # The master sends a stream. Its part has the same name in each call, which resumes it.
    stream = output.with_name(f".{output.name}.stream")
    client.save_results(job_id, stream, format=format_, node=node)
    try:
        with replacing(output) as staged:
            write_arrow_file(stream, staged)
    finally:
        stream.unlink()


_ENDED = {
    "CANCELLED": "is cancelled",
    "SUCCEEDED": "had already succeeded",
    "FAILED": "had already failed",
}


def cancel(job_id: JobId, *, master: Master = None, json: AsJson = False) -> None:
    """Cancel a job."""
    from minispark.cli.terminal import output

    with connect(master) as client:
        job_id = client.find_job(job_id)
        view = client.cancel(job_id)
        if view.status not in _ENDED:
            view = client.wait(job_id)
    if json:
        print_json(view.model_dump(mode="json"))
    else:
        output.print_line(f"{job_id} {_ENDED[view.status]}")


def top(
    context: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print once and exit.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.2, max=60.0, help="Seconds between updates.")
    ] = 1.0,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Watch jobs, stages and workers live; q quits. Without a terminal it prints them once."""
    check_together(context, "once", "interval")
    check_together(context, "json", "interval")
    from minispark.cli.terminal import output, unlimited
    from minispark.cli.top import WIDTH, frame, take_snapshot, watch

    with connect(master) as client:
        snapshot = take_snapshot(client)
        if json:
            print_json(snapshot.as_json())
        elif once or not output.is_terminal:
            console = unlimited(output, width=WIDTH)
            console.print(frame(snapshot, height=None, width=console.width))
        else:
            watch(client, snapshot, interval_s=interval)


def ui(
    *,
    print_: Annotated[
        bool, typer.Option("--print", help="Only print the link; it works once.")
    ] = False,
    next_: Annotated[
        str, typer.Option("--next", metavar="PATH", help="Page to open, such as /jobs/ID.")
    ] = "/",
    master: Master = None,
) -> None:
    """Open the web page of the cluster in a browser, with a login link that works once.

    The browser then has the rights of your token for twelve hours.
    """
    import webbrowser

    with connect(master) as client:
        link = client.login_link(next_)
    if print_ or not webbrowser.open(link):
        typer.echo(printable(link))
