"""The figures of one worker: from itself where its URL is given, else as the master heard them."""

from __future__ import annotations

from typing import Any

from minispark.engines.http import MasterClient
from minispark.errors import MasterUnreachableError, UsageError
from minispark.printable import did_you_mean


def ask_worker(place: str, *, master: str | None) -> dict[str, Any]:
    """Return what a worker says of itself.

    Raises
    ------
    UsageError
        The master knows no such worker, or what answers at a URL is none.
    MasterUnreachableError
        Nobody answers.
    """
    if place.startswith(("http://", "https://")):
        return _at(place)
    with MasterClient(master) as client:
        workers = {str(worker["worker_id"]): worker for worker in client.workers()}
    if place not in workers:
        msg = f"the master knows no worker {place!r}"
        hint = did_you_mean(place, workers, else_list="it knows") or "minispark workers lists them."
        raise UsageError(msg, hint=hint)
    worker = workers[place]
    return {"worker_id": place, "slots": worker["slots"], **worker["metrics"]}


def _at(url: str) -> dict[str, Any]:
    with MasterClient(url) as client:
        try:
            found = client.get_json("/metrics")
        except MasterUnreachableError as error:
            msg = f"no worker answers at {client.url}"
            raise MasterUnreachableError(msg, hint=_HINT) from error
        except (UsageError, ValueError) as error:
            msg = f"what answers at {client.url} does not show a worker's figures"
            raise UsageError(msg, hint=_HINT) from error
    return dict(found)


_HINT = "A worker's figures are at its port plus 1000; minispark workers lists their URLs."
