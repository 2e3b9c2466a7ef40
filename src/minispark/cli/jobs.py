"""``status``, ``jobs``, ``workers``, ``results``, ``cancel``: ask a master, and tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from minispark.cli.options import AsJson, Master
from minispark.printable import printable

JobId = Annotated[str, typer.Argument(metavar="ID", help="The id that `submit` printed.")]
Format = Literal["csv", "jsonl", "parquet", "arrow"]


def status(
    job_id: JobId,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show progress until the job has ended.")
    ] = False,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show how a job stands, stage by stage."""
    from functools import partial

    from minispark.cli.job_metrics import print_job, print_json, print_why
    from minispark.cli.remote import wait_for
    from minispark.engines.http import MasterClient

    with MasterClient(master) as client:
        follow = partial(wait_for, client, quiet=json, owner=False)
        view = (follow if watch else client.job)(job_id)
        rows, why = client.stages(job_id), client.why(job_id)
    if json:
        found = {"rows": [r.model_dump() for r in rows], "why": [a.model_dump() for a in why]}
        print_json(view.model_dump(mode="json") | found)
    else:
        print_job(view, rows)
        print_why(why)


def jobs(
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="Show so many at most.")] = None,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """List the jobs that the master knows."""
    from minispark.cli.job_metrics import print_jobs, print_json
    from minispark.engines.http import MasterClient

    with MasterClient(master) as client:
        found = client.jobs(limit=limit)
    if json:
        print_json([view.model_dump(mode="json") for view in found])
    else:
        print_jobs(found)


def workers(*, master: Master = None, json: AsJson = False) -> None:
    """List the workers with their load."""
    from minispark.cli.job_metrics import print_json, print_workers
    from minispark.engines.http import MasterClient

    with MasterClient(master) as client:
        found = client.workers()
    if json:
        print_json(found)
    else:
        print_workers(found)


def results(
    job_id: JobId,
    *,
    output: Annotated[
        Path | None, typer.Option(help="A file to write; else standard output.")
    ] = None,
    format: Annotated[  # noqa: A002
        Format | None,
        typer.Option(help="Else by the file's ending; csv on standard output."),
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="Which result, where the job has several.")
    ] = None,
    master: Master = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print where the result is, in JSON; download nothing.")
    ] = False,
) -> None:
    """Download the result of a job, from wherever it lies."""
    from minispark.cli.job_metrics import print_json
    from minispark.cli.terminal import write_rows
    from minispark.engines.http import MasterClient

    if json:
        with MasterClient(master) as client:
            print_json(client.get_json(f"/api/v1/jobs/{job_id}/results"))
        return
    chosen = format or _format_of(output)
    with MasterClient(master) as client:
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            client.save_results(job_id, output, format=chosen, node=node)
            typer.echo(printable(str(output)))
            return
        with client.results(job_id, format=chosen, node=node) as response:
            write_rows(response.iter_bytes(1 << 20))


_ENDED = {
    "CANCELLED": "is cancelled",
    "SUCCEEDED": "had already succeeded",
    "FAILED": "had already failed",
}


def cancel(job_id: JobId, *, master: Master = None, json: AsJson = False) -> None:
    """Cancel a job."""
    from minispark.cli.job_metrics import print_json
    from minispark.cli.terminal import output
    from minispark.engines.http import MasterClient

    with MasterClient(master) as client:
        view = client.cancel(job_id)
        if view.status not in _ENDED:
            view = client.wait(job_id)
    if json:
        print_json(view.model_dump(mode="json"))
    else:
        output.print_line(f"{job_id} {_ENDED[view.status]}")


def _format_of(output: Path | None) -> Format:
    endings: dict[str, Format] = {
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".parquet": "parquet",
        ".arrow": "arrow",
        ".arrows": "arrow",
    }
    return "csv" if output is None else endings.get(output.suffix.lower(), "csv")
