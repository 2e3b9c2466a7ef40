"""``minispark submit`` and ``explain``: send a JSON job to the master, or show its plan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minispark.cli.options import (
    AsJson,
    DataRoot,
    Master,
    Parallelism,
    User,
    check_together,
    connect,
    print_json,
)
from minispark.errors import UnsupportedError, UsageError
from minispark.printable import printable

if TYPE_CHECKING:
    from minispark.engines.http import MasterClient

Wait = Annotated[
    bool | None,
    typer.Option(
        "--wait/--no-wait",
        help="Wait and show progress, or print the id and exit. Default: wait on a terminal.",
        show_default=False,
    ),
]


def submit(
    job: Annotated[
        Path | None,
        typer.Argument(help="A JSON job. Without one, submit counts the words of --input."),
    ] = None,
    *,
    input: Annotated[  # noqa: A002
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Input that replaces the path in the job: a file, a directory, or a "
            "pattern in quotes; may be repeated.",
        ),
    ] = None,
    parallelism: Parallelism = None,
    wait: Wait = None,
    user: User = None,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Submit a job to a master."""
    if job is not None and job.suffix == ".py":
        msg = "submitting a script is not built yet"
        raise UnsupportedError(
            msg, file=str(job), hint="Run it with python; minispark.Engine(URL) is the cluster."
        )
    if job is None and not input:
        msg = "there is nothing to submit"
        raise UsageError(msg, hint="Name a JSON job, or a file to count the words of: --input PATH")
    from minispark.cli.json_jobs import one_or_list, read_job, sent_path, with_input

    if job is None:
        body = _wordcount(input or [], as_json=json)
    else:
        body = read_job(job)
        if input:
            body = with_input(body, one_or_list([sent_path(path) for path in input]))
    if parallelism is not None:
        body["parallelism"] = parallelism
    with connect(master, user=user) as client:
        job_id = client.submit_json(body)
        _follow_or_leave(client, job_id, wait=wait, as_json=json)


def rerun(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a running or completed job.")],
    *,
    wait: Wait = None,
    user: User = None,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Submit the same job again."""
    with connect(master, user=user) as client:
        _follow_or_leave(client, client.rerun(client.find_job(job_id)), wait=wait, as_json=json)


def _follow_or_leave(
    client: MasterClient, job_id: str, *, wait: bool | None, as_json: bool
) -> None:
    from minispark.cli.remote import follow

    if sys.stdout.isatty() if wait is None else wait:
        follow(client, job_id, as_json=as_json)
    elif as_json:
        print_json({"job_id": job_id, "status": "ACCEPTED"})
    else:
        typer.echo(printable(job_id))


def _wordcount(paths: list[str], *, as_json: bool) -> dict[str, Any]:
    from minispark.cli.json_jobs import absolute, one_or_list, sent_path, wordcount_job
    from minispark.cli.terminal import notes
    from minispark.cli.words import words_of

    advice = "Choose one: minispark run wordcount PATH --column {column} --engine URL"
    words = words_of([absolute(path) for path in paths], None, advice=advice)
    if not as_json:
        notes.print_line(str(words))
    sent = one_or_list([sent_path(path) for path in paths])
    return wordcount_job(sent, column=words.column)


def explain(
    context: typer.Context,
    job: Annotated[Path, typer.Argument(help="A JSON job.", metavar="JOB.json")],
    *,
    parallelism: Parallelism = None,
    data_root: DataRoot = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print the stages as a Mermaid flow chart.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show the logical plan, the stages, the data that moves between them, and the tasks."""
    check_together(context, "mermaid", "json")
    from minispark.cli.json_jobs import plan_document, read_job
    from minispark.jobs import plan_job
    from minispark.plan.explain import render, render_mermaid

    body = read_job(job)
    if parallelism is not None:
        body["parallelism"] = parallelism
    graph = plan_job(body, data_root=data_root, describe=True)
    if mermaid:
        typer.echo(render_mermaid(graph))
        return
    if not json:
        typer.echo(render(graph))
        return
    print_json(plan_document(graph))
