"""``minispark logs``: the latest log lines of one worker, or of all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

import typer

from minispark.cli.options import AsJson, Master, connect, print_json, print_json_line
from minispark.errors import MinisparkError

if TYPE_CHECKING:
    from minispark.engines.http import MasterClient

Line = dict[str, Any]

_POLL_S = 1.0
_STYLES = {"warning": "yellow", "error": "red", "debug": "dim"}


def logs(
    worker: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKER]", help="The id of a worker. Default: all workers.", show_default=False
        ),
    ] = None,
    *,
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(help="Lowest level to show; a worker has no lines below its --log-level."),
    ] = "info",
    limit: Annotated[
        int, typer.Option(min=1, max=1_000, help="Show the last N lines of each worker.")
    ] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new lines.")] = False,
    master: Master = None,
    json: AsJson = False,
) -> None:
    """Show the latest log lines of a worker, the newest last.

    A worker keeps its last 250 lines of each level in memory, with secrets masked. With --follow
    --json each line is one line of JSON. A token of the level view does not show logs.
    """
    with connect(master) as client:
        reader = _LogReader(client, worker, level=level, limit=limit)
        lines = reader.read()
        if json and not follow:
            print_json(lines)
            return
        while True:
            for line in lines:
                if json:
                    print_json_line(line)
                else:
                    _print(line, with_worker=worker is None)
            if not follow:
                if not (lines or json):
                    _say_nothing_is_there(client, level)
                return
            threading.Event().wait(_POLL_S)
            lines = reader.read()


def _say_nothing_is_there(client: MasterClient, level: str) -> None:
    from minispark.cli.terminal import notes, print_hint

    if any(each["status"] != "DOWN" for each in client.workers()):
        notes.print_line(f"no lines of level {level} or above")
    else:
        print_hint("no workers yet; start one with: minispark worker", console=notes)


class _LogReader:
    """Reads the lines that are new since the last read, from one worker or all."""

    def __init__(self, client: MasterClient, worker: str | None, *, level: str, limit: int) -> None:
        self._client = client
        self._worker = worker
        self._query = {"level": level, "limit": limit}
        self._last: dict[str, int] = {}
        self._noted: set[str] = set()

    def read(self) -> list[Line]:
        """Return new lines with the id of their worker, oldest first."""
        if self._worker is not None:
            return self._of(self._worker)
        present = [each for each in self._client.workers() if each["status"] != "DOWN"]
        lines: list[Line] = []
        for each in present:
            try:
                lines += self._of(each["worker_id"])
            except MinisparkError as error:
                self._note(each["worker_id"], error)
        return sorted(lines, key=lambda line: str(line["at"]))

    def _of(self, worker: str) -> list[Line]:
        path, after = f"/api/v1/workers/{quote(worker, safe='')}/logs", self._last.get(worker, 0)
        lines = self._client.get_json(path, after=after, **self._query)["lines"]
        if lines:
            self._last[worker] = lines[-1]["number"]
        return [{"worker_id": worker, **line} for line in lines]

    def _note(self, worker: str, error: MinisparkError) -> None:
        from minispark.cli.terminal import notes

        if error.info.code in ("MS-501", "MS-607"):
            # No master, or too weak a token: it is the same for every worker.
            raise error
        if worker not in self._noted:
            self._noted.add(worker)
            notes.print_line(error.info.message)


def _print(line: Line, *, with_worker: bool) -> None:
    from datetime import datetime

    from minispark.cli.terminal import output
    from minispark.formatting import local_time

    try:
        at = local_time(datetime.fromisoformat(line["at"]).timestamp())
    except ValueError:
        at = line["at"]
    fields = {
        name: value
        for name, value in line["fields"].items()
        if name not in ("worker", "part", "exception")
    }
    words = [at, *([line["worker_id"]] if with_worker else []), f"{line['level']:<7}"]
    pairs = "  ".join(f"{name}={value}" for name, value in fields.items())
    style = _STYLES.get(line["level"])
    output.print_line("  ".join([*words, line["event"], pairs]).rstrip(), style=style)
    for text in str(line["fields"].get("exception", "")).splitlines():
        output.print_line(f"  | {text}", style=style)
