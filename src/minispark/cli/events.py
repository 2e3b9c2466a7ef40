"""``minispark events``: what happened in the cluster, oldest first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from minispark.cli.options import AsJson, Master, connect, print_json, print_json_line

if TYPE_CHECKING:
    from minispark.engines.http import MasterClient

Event = dict[str, Any]

_PAGE = 1_000
"""The most that the master gives in one answer."""
_POLL_S = 1.0
_PATIENCE_S = 60.0
"""`--follow` survives a restart of the master that takes less than this: it is an event, too."""
_ENDS = frozenset({"succeeded", "failed", "cancelled"})
_BAD = frozenset({"failed", "down", "lost", "journal_damaged"})
_ODD = frozenset({"excluded", "full", "cancelled", "cancel_requested", "draining", "restarted"})


def events(
    *,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Wait for new events; with --job until the job has ended."
        ),
    ] = False,
    job: Annotated[
        str | None, typer.Option(metavar="ID", help="Only events of this job.", show_default=False)
    ] = None,
    worker: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only events of this worker.", show_default=False),
    ] = None,
    about: Annotated[
        Literal["worker", "job", "attempt", "master"] | None,
        typer.Option(help="Only events of this kind.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=_PAGE, help="Show the last N events.")] = 50,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show what happened in the cluster, the newest event last.

    With --follow --json each event is one line of JSON.
    """
    with connect(master) as client:
        job = None if job is None else client.find_job(job)
        wanted = {"job": job, "worker": worker, "about": about}
        latest = client.get_json("/api/v1/events", limit=limit, **wanted)["events"][::-1]
        if not latest and job is not None:
            client.job(job)  # Raises if there is no such job.
        if not follow:
            if json:
                print_json(latest)
            else:
                _print(latest, "no such events" if any(wanted.values()) else "no events yet")
            return
        for new in _followed(client, latest, wanted):
            _show(new, as_json=json)
            if job is not None and any(_ends_job(event) for event in new):
                return


def event_words(event: Event) -> str:
    """Return an event as a sentence: its subject, and what happened."""
    name = f" ({event['job_name']})" if event["job_name"] else ""
    subjects = {
        "worker": f"{event['worker']} ",
        "job": f"{event['job_id']}{name} ",
        "attempt": f"{event['job_id']}{name}: ",
    }
    place = f" (on {event['worker']})" if event["kind"] == "failed" and event["worker"] else ""
    return f"{subjects.get(event['about'], '')}{event['said']}{place}"


def _followed(
    client: MasterClient, latest: list[Event], wanted: dict[str, str | None]
) -> Iterator[list[Event]]:
    """Yield the latest events, then new ones as they come."""
    from minispark.clock import monotonic_s
    from minispark.errors import MasterUnreachableError

    yield latest
    last, answered_s = latest[-1]["id"] if latest else 0, monotonic_s()
    while True:
        threading.Event().wait(_POLL_S)
        try:
            new = _since(client, last, wanted)
            answered_s = monotonic_s()
        except MasterUnreachableError:
            if monotonic_s() - answered_s > _PATIENCE_S:
                raise
            continue
        if new:
            last = new[-1]["id"]
            yield new


def _since(client: MasterClient, last: int, wanted: dict[str, str | None]) -> list[Event]:
    """Return all events after number ``last``, oldest first."""
    new: list[Event] = []
    after: int | None = None
    while True:
        page = client.get_json("/api/v1/events", limit=_PAGE, since=last, after=after, **wanted)
        new += page["events"]
        after = page["after"]
        if after is None:
            return new[::-1]


def _ends_job(event: Event) -> bool:
    return event["about"] == "job" and event["kind"] in _ENDS


def _show(events: list[Event], *, as_json: bool) -> None:
    if as_json:
        for event in events:
            print_json_line(event)
    else:
        _print(events, "")


def _print(events: list[Event], otherwise: str) -> None:
    from minispark.cli.terminal import output
    from minispark.formatting import local_time

    if not events and otherwise:
        output.print_line(otherwise)
    for event in events:
        kind = event["kind"]
        style = "red" if kind in _BAD else "yellow" if kind in _ODD else None
        output.print_line(f"{local_time(event['at'])}  {event_words(event)}", style=style)
