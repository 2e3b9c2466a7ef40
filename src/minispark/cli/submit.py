"""``minispark submit``: a job goes to the master."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import AsJson, Master, Parallelism
from minispark.errors import UnsupportedError, UsageError
from minispark.printable import printable


def submit(
    job: Annotated[
        Path | None,
        typer.Argument(help="A JSON job; without one the words of --input are counted."),
    ] = None,
    *,
    input: Annotated[  # noqa: A002
        str | None,
        typer.Option(help="What to read, in place of the path in the job.", metavar="PATH"),
    ] = None,
    parallelism: Parallelism = None,
    wait: Annotated[
        bool | None,
        typer.Option(
            "--wait/--no-wait",
            help="Show progress and figures, or print the id and leave. Waits on a terminal.",
            show_default=False,
        ),
    ] = None,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Submit a job to a master."""
    if job is not None and job.suffix == ".py":
        msg = "submitting a script is not built yet"
        raise UnsupportedError(
            msg, file=str(job), hint="Run it with python; minispark.Engine(URL) is the cluster."
        )
    if job is None and input is None:
        msg = "there is nothing to submit"
        raise UsageError(msg, hint="Name a JSON job, or a file to count the words of: --input PATH")
    from minispark.cli.job_files import read_job, sent_path, with_input
    from minispark.cli.job_metrics import print_json
    from minispark.cli.ready_jobs import wordcount_job
    from minispark.cli.remote import follow
    from minispark.engines.http import MasterClient

    path = None if input is None else sent_path(input)
    body = wordcount_job(path or "") if job is None else read_job(job)
    if job is not None and path is not None:
        body = with_input(body, path)
    if parallelism is not None:
        body["parallelism"] = parallelism
    with MasterClient(master) as client:
        job_id = client.submit_json(body)
        if not (sys.stdout.isatty() if wait is None else wait):
            if json:
                print_json({"job_id": job_id, "status": "ACCEPTED"})
            else:
                typer.echo(printable(job_id))
            return
        follow(client, job_id, as_json=json)
