"""``minispark verify``: a job again, and whether it gives the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from minispark.cli.options import AsJson, Master

if TYPE_CHECKING:
    from minispark.engines.verify import Verification


def verify(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="A job that has succeeded.")],
    *,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Run a job again, publish nothing, and compare rows and checksums of every stage.

    Leaves with 1 if they differ where the plan promises that they do not.
    """
    from functools import partial

    from minispark.cli.job_metrics import print_json
    from minispark.cli.remote import wait_for
    from minispark.engines.http import MasterClient
    from minispark.engines.verify import verify as run_again

    with MasterClient(master) as client:
        found = run_again(client, job_id, wait=partial(wait_for, client, quiet=json))
    if json:
        print_json(found.document())
    else:
        _show(found)
    if not found.equal:
        raise typer.Exit(1)


def _show(found: Verification) -> None:
    from minispark.cli.terminal import count_text, output, print_table

    print_table(
        ("stage", "name", "label", "tasks", "rows", ""),
        [
            (f"stage-{s.stage}", s.name, s.label, str(s.tasks), count_text(s.rows), s.status)
            for s in found.stages
        ],
        numbers=("tasks", "rows"),
    )
    for stage in found.stages:
        if stage.status == "differs":
            tasks = ", ".join(map(str, stage.differing))
            output.print_line(f"stage-{stage.stage}, {stage.name}: {stage.what} (tasks {tasks})")
    for rows in found.rows:
        for title, some in (("first", rows.only_first), ("second", rows.only_second)):
            for row in some:
                output.print_line(f"{rows.node}: only in the {title} run: {row}")
        if rows.note:
            output.print_line(f"{rows.node}: {rows.note}")
    verdict = "gave the same again" if found.equal else "did NOT give the same again"
    output.print_line(f"{found.job_id} {verdict} ({found.again})")
