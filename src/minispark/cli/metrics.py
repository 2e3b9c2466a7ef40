"""``metrics``: the figures of the cluster, of jobs, of failures, of one job, of one worker."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from minispark.cli.options import AsJson, Master

app = typer.Typer(no_args_is_help=True, help="Show the figures of the cluster and its jobs.")


@app.command("system")
def system(*, master: Master = None, json: AsJson = False) -> None:
    """Show the cluster: workers, load, totals over all jobs."""
    from minispark.cli.cluster_metrics import print_system
    from minispark.observe.cluster import SystemMetrics

    found = _shown("system", master, as_json=json)
    if found is not None:
        print_system(SystemMetrics.model_validate(found))


@app.command("jobs")
def jobs(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Show so many at most.")] = 20,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show the figures of jobs, newest first."""
    from minispark.cli.cluster_metrics import print_job_figures
    from minispark.observe.cluster import JobsMetrics

    found = _shown("jobs", master, as_json=json, limit=limit)
    if found is not None:
        print_job_figures(JobsMetrics.model_validate(found))


@app.command("failures")
def failures(*, master: Master = None, json: AsJson = False) -> None:
    """Show what failed: by kind, by worker, by job."""
    from minispark.cli.cluster_metrics import print_failures
    from minispark.observe.cluster import FailuresMetrics

    found = _shown("failures", master, as_json=json)
    if found is not None:
        print_failures(FailuresMetrics.model_validate(found))


@app.command("job")
def job(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `submit` printed.")],
    *,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show the figures of one job: its nodes, throughput, bytes, skew, failures."""
    from minispark.cli.cluster_metrics import print_job_metrics
    from minispark.cli.job_metrics import print_json
    from minispark.engines.http import MasterClient

    with MasterClient(master) as client:
        found = client.metrics(job_id)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        print_job_metrics(found)


@app.command("worker")
def worker(
    place: Annotated[
        str,
        typer.Argument(metavar="URL", help="Where its figures are, port + 1000; or its id."),
    ],
    *,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show what a worker says of itself."""
    from minispark.cli.cluster_metrics import print_worker
    from minispark.cli.job_metrics import print_json
    from minispark.cli.worker_metrics import ask_worker

    found = ask_worker(place, master=master)
    if json:
        print_json(found)
    else:
        print_worker(found)


def _shown(what: str, master: str | None, *, as_json: bool, **params: object) -> Any:
    """Ask for figures; print them as JSON and return None, or return them."""
    from minispark.cli.job_metrics import print_json
    from minispark.engines.http import MasterClient

    with MasterClient(master) as client:
        found = client.get_json(f"/api/v1/metrics/{what}", **params)
    if not as_json:
        return found
    print_json(found)
    return None
