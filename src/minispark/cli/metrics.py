"""``minispark metrics``: of the cluster, of jobs, of failures, of one job, of one worker."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from minispark.cli.options import AsJson, Master, check_unused, connect, is_address, print_json
from minispark.errors import MasterUnreachableError, UsageError

app = typer.Typer(no_args_is_help=True, help="Show the metrics of the cluster and its jobs.")


@app.command("system")
def system(*, master: Master = None, json: AsJson = False) -> None:
    """Show the cluster: workers, load, totals over all jobs."""
    from minispark.cli.cluster_metrics import print_system
    from minispark.observe.cluster import SystemMetrics

    with connect(master) as client:
        metrics = client.get_json("/api/v1/metrics/system")
    if json:
        print_json(metrics)
    else:
        print_system(SystemMetrics.model_validate(metrics))


@app.command("jobs")
def jobs(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Show at most N.")] = 20,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show the metrics of jobs, newest first."""
    from minispark.cli.cluster_metrics import print_job_figures
    from minispark.observe.cluster import JobsMetrics

    with connect(master) as client:
        metrics = client.get_json("/api/v1/metrics/jobs", limit=limit)
    if json:
        print_json(metrics)
    else:
        print_job_figures(JobsMetrics.model_validate(metrics))


@app.command("failures")
def failures(*, master: Master = None, json: AsJson = False) -> None:
    """Show failures by kind, by worker and by job."""
    from minispark.cli.cluster_metrics import print_failures
    from minispark.observe.cluster import FailuresMetrics

    with connect(master) as client:
        metrics = client.get_json("/api/v1/metrics/failures")
    if json:
        print_json(metrics)
    else:
        print_failures(FailuresMetrics.model_validate(metrics))


@app.command("job")
def job(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `submit` printed.")],
    *,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show the metrics of one job: operators, throughput, bytes, skew, failures."""
    from minispark.cli.job_metrics import print_job_metrics

    with connect(master) as client:
        metrics = client.metrics(client.find_job(job_id))
    if json:
        print_json(metrics.model_dump(mode="json"))
    else:
        print_job_metrics(metrics)


@app.command("worker")
def worker(
    context: typer.Context,
    place: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="Worker id, or the URL of its metrics (worker port + 1000)."
        ),
    ],
    *,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show the metrics that a worker reports."""
    from minispark.cli.cluster_metrics import print_worker

    if is_address(place):
        check_unused(context, "master", "a URL")
    metrics = _worker_metrics(place, master)
    if json:
        print_json(metrics)
    else:
        print_worker(metrics)


_HINT = "A worker serves its metrics at its port plus 1000; minispark workers lists the URLs."


def _worker_metrics(url_or_id: str, master: str | None) -> dict[str, Any]:
    """Return a worker's metrics: from itself by URL, or from its last heartbeat by id."""
    from minispark.printable import did_you_mean

    if is_address(url_or_id):
        return _metrics_at(url_or_id)
    with connect(master) as client:
        workers = {str(worker["worker_id"]): worker for worker in client.workers()}
    if url_or_id not in workers:
        msg = f"the master has no worker {url_or_id!r}"
        hint = did_you_mean(url_or_id, workers, else_list="it knows")
        raise UsageError(msg, code="MS-159", hint=hint or "minispark workers lists them.")
    worker = workers[url_or_id]
    facts = {**(worker.get("facts") or {}), **(worker.get("versions") or {})}
    return {"worker_id": url_or_id, "slots": worker["slots"], **facts, **worker["metrics"]}


def _metrics_at(url: str) -> dict[str, Any]:
    with connect(url) as client:
        try:
            return dict(client.get_json("/metrics"))
        except MasterUnreachableError as error:
            msg = f"no worker answers at {client.url}"
            raise MasterUnreachableError(msg, hint=_HINT) from error
        except (UsageError, ValueError) as error:
            msg = f"what answers at {client.url} does not serve a worker's metrics"
            raise UsageError(msg, hint=_HINT) from error
