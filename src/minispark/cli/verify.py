"""``minispark verify``: runs a job again and compares the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from minispark.cli.options import AsJson, Master, connect, print_json

if TYPE_CHECKING:
    from minispark.engines.verify import Verification


def verify(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="A job that has succeeded.")],
    *,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Run a job again without writing its output, and compare rows and checksums of every stage.

    Exit code 1 if a stage marked deterministic gives a different result.
    """
    from functools import partial

    from minispark.cli.remote import wait_for
    from minispark.engines.verify import verify as run_again

    with connect(master) as client:
        job_id = client.find_job(job_id)
        result = run_again(client, job_id, wait=partial(wait_for, client, quiet=json))
    if json:
        print_json(result.document())
    else:
        _show(result)
    if not result.equal:
        raise typer.Exit(1)


def _show(result: Verification) -> None:
    from minispark.cli.terminal import output, print_table
    from minispark.formatting import count_text

    print_table(
        ("stage", "name", "label", "tasks", "rows", ""),
        [
            (f"stage-{s.stage}", s.name, s.label, str(s.tasks), count_text(s.rows), s.status)
            for s in result.stages
        ],
        numbers=("tasks", "rows"),
    )
    for stage in result.stages:
        if stage.status == "differs":
            tasks = ", ".join(map(str, stage.differing))
            output.print_line(f"stage-{stage.stage}, {stage.name}: {stage.what} (tasks {tasks})")
    for rows in result.rows:
        for title, examples in (("first", rows.only_first), ("second", rows.only_second)):
            for row in examples:
                output.print_line(f"{rows.node}: only in the {title} run: {row}")
        if rows.note:
            output.print_line(f"{rows.node}: {rows.note}")
    verdict = "gave the same result again" if result.equal else "did NOT give the same result"
    output.print_line(f"{result.job_id} {verdict} ({result.again})")
