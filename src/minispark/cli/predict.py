"""``minispark predict``: how long a job would have taken on another number of workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from minispark.cli.options import AsJson, Master, print_json


def predict(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="A job that has succeeded.")],
    *,
    workers: Annotated[int, typer.Option(min=1, max=10_000, help="Number of workers.")],
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_024, help="Slots of each worker. Default: as on the current workers."
        ),
    ] = None,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Predict how long a completed job would take on another number of workers.

    The scheduler assigns the measured tasks to simulated workers. Assumes one core per slot and
    unchanged task durations.
    """
    from minispark.cli.terminal import output, print_table
    from minispark.engines.http import MasterClient
    from minispark.formatting import duration_text
    from minispark.observe import predict as prediction

    with MasterClient(master) as client:
        job_id = client.find_job(job_id)
        job = prediction.measured(client.rows(job_id), job_id)
        names = {row.id: row.name for row in client.stages(job_id)}
        slots = threads or _usual_slots([int(w["slots"]) for w in client.workers()])
    found = prediction.predict(job, workers=workers, slots=slots)
    if json:
        print_json(asdict(found) | {"measured_s": job.total_s, "job_id": job_id})
        return
    print_table(
        ("stage", "tasks", "begins", "predicted"),
        [
            (
                names.get(f"stage-{stage.stage}", str(stage.stage)),
                str(stage.tasks),
                duration_text(stage.begins_s),
                duration_text(stage.seconds),
            )
            for stage in found.stages
        ],
        numbers=("tasks", "begins", "predicted"),
    )
    output.print_line(
        f"{job_id} would take {duration_text(found.total_s)} on {workers} workers of "
        f"{slots} slots; it took {duration_text(job.total_s)}, as it ran"
    )
    output.print_line(
        "This assumes a core for each slot, and tasks as long as they were; planning is not in it."
    )


def _usual_slots(slots: list[int]) -> int:
    return Counter(slots).most_common(1)[0][0] if slots else 1
