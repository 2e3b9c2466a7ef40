"""A job on a cluster, followed to its end."""

from __future__ import annotations

from minispark.cli.interrupts import goes_on
from minispark.cli.job_metrics import print_figures, print_json, print_stages
from minispark.cli.progress import job_progress
from minispark.cli.terminal import notes
from minispark.engines.base import raise_unless_succeeded
from minispark.engines.http import MasterClient
from minispark.observe.views import JobView


def wait_for(
    client: MasterClient, job_id: str, *, quiet: bool = False, owner: bool = True
) -> JobView:
    """Show progress until the job has ended; an interrupt asks, and of its ``owner`` cancels."""
    while True:
        try:
            with job_progress(quiet=quiet) as show:
                return client.wait(job_id, on_change=show)
        except KeyboardInterrupt:
            if not goes_on(client, job_id, owner=owner):
                raise


def follow(client: MasterClient, job_id: str, *, as_json: bool) -> None:
    """Wait for a job and print its figures; raises what stands for a bad end."""
    view = wait_for(client, job_id, quiet=as_json)
    metrics = client.metrics(job_id)
    if as_json:
        print_json(view.model_dump(mode="json") | {"metrics": metrics.model_dump(mode="json")})
    raise_unless_succeeded(view)
    if not as_json:
        print_stages(client.stages(job_id))
        print_figures(metrics)
        notes.print_line(f"next: minispark results {job_id} --master {client.url}")
