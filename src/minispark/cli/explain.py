"""``minispark explain``: what the planner makes of a job, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import AsJson, DataRoot, Parallelism


def explain(
    job: Annotated[Path, typer.Argument(help="A JSON job.", metavar="JOB.json")],
    *,
    parallelism: Parallelism = None,
    data_root: DataRoot = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print the stages as a Mermaid flow chart.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show the logical plan, the stages, what moves between them, and the tasks."""
    from minispark.cli.job_files import read_job
    from minispark.cli.job_metrics import print_json
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
    stages = [
        {
            "id": stage.id,
            "name": stage.name,
            "label": stage.label,
            "tasks": stage.partitions,
            "nodes": stage.nodes,
            "reads": sorted({leaf.stage for branch in stage.branches for leaf in branch.inputs}),
            "output": stage.output.kind,
            "partitions": stage.output.partitions,
            "pushed": stage.pushed,
            "why": stage.why,
        }
        for stage in graph.stages
    ]
    print_json({"logical": graph.logical, "stages": stages})
