"""A job on a cluster, followed to its end: progress, interrupts, figures.

The first Ctrl-C on a terminal asks what to do. For the owner, who submitted the job, a second
Ctrl-C instead of an answer cancels the job; a watcher only leaves. Off a terminal nothing can be
asked: the owner's interrupt cancels the job.

Many interrupts within a moment count as one (`minispark.signals`), so none of them stops the
cancellation. Instead of an answer each one counts.
"""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, TaskID

from minispark.cli.job_metrics import print_figures, print_stages
from minispark.cli.options import print_json
from minispark.cli.terminal import notes, print_hint
from minispark.engines.base import raise_unless_succeeded
from minispark.engines.console import work_bars
from minispark.engines.http import MasterClient
from minispark.engines.progress import progress_note
from minispark.errors import MinisparkError
from minispark.formatting import many
from minispark.observe.views import JobView
from minispark.printable import printable
from minispark.signals import interrupts

_SIGNAL_CHECK_S = 0.2


def wait_for(
    client: MasterClient, job_id: str, *, quiet: bool = False, owner: bool = True
) -> JobView:
    """Show progress until the job has ended; an interrupt asks what to do, or cancels."""
    while True:
        try:
            with job_progress(quiet=quiet) as show:
                return client.wait(job_id, on_change=show)
        except KeyboardInterrupt:
            if not _continues(client, job_id, owner=owner):
                raise


def follow(client: MasterClient, job_id: str, *, as_json: bool) -> None:
    """Wait for a job and print its figures.

    Raises
    ------
    JobFailedError, JobCancelledError
        The job did not succeed.
    """
    view = wait_for(client, job_id, quiet=as_json)
    metrics = client.metrics(job_id)
    if as_json:
        print_json(view.model_dump(mode="json") | {"metrics": metrics.model_dump(mode="json")})
    raise_unless_succeeded(view, page=client.page(job_id))
    if not as_json:
        print_stages(client.stages(job_id))
        print_figures(metrics)
        print_hint(f"next: minispark results {job_id} --master {client.url}", console=notes)


@contextmanager
def job_progress(*, quiet: bool = False) -> Iterator[Callable[[JobView], None]]:
    """Yield a function that shows a view of the job.

    On a terminal it draws a bar per stage, else it prints a line when a stage changes.
    """
    if quiet:
        yield lambda view: None
    elif notes.is_terminal:
        with work_bars(notes) as bars:
            yield _Bars(bars)
    else:
        yield _Lines()


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._job = bars.add_task("job", total=100.0, note="")
        self._stages: dict[str, TaskID] = {}

    def __call__(self, view: JobView) -> None:
        title = view.job_id + (": waits for workers" if view.workers_waiting else "")
        self._bars.update(
            self._job,
            description=printable(title),
            completed=view.progress,
            note=progress_note(view),
        )
        for number, stage in enumerate(view.stages, 1):
            if stage.id not in self._stages:
                name = f"  stage {number} of {len(view.stages)} ({printable(stage.name)})"
                self._stages[stage.id] = self._bars.add_task(name, total=100.0, note="")
            note = f"{stage.tasks_done}/{many(stage.tasks, 'task')}"
            self._bars.update(self._stages[stage.id], completed=stage.progress, note=note)


class _Lines:
    def __init__(self) -> None:
        self._printed: set[str] = set()

    def __call__(self, view: JobView) -> None:
        if view.workers_waiting:
            self._print_once(f"{view.job_id} waits for workers")
        for number, stage in enumerate(view.stages, 1):
            if stage.status != "PENDING":
                name = f"stage {number} of {len(view.stages)} ({stage.name})"
                tasks = many(stage.tasks, "task")
                self._print_once(f"{name}: {stage.status.lower()}, {tasks}")

    def _print_once(self, line: str) -> None:
        if line not in self._printed:
            self._printed.add(line)
            notes.print_line(line)


def _continues(client: MasterClient, job_id: str, *, owner: bool) -> bool:
    """Ask what to do after an interrupt; return whether to go on waiting."""
    if not (sys.stdin.isatty() and notes.is_terminal):
        if owner:
            _cancel(client, job_id)
        return False
    try:
        cancels = _ask(job_id, owner=owner)
    except (KeyboardInterrupt, EOFError):
        notes.print()
        cancels = owner
    if cancels is None:
        return True
    if cancels:
        _cancel(client, job_id)
    else:
        again = f"minispark status {job_id} --watch --master {client.url}"
        print_hint(f"{job_id} continues; watch it with: {again}", console=notes)
    return False


def _ask(job_id: str, *, owner: bool) -> bool | None:
    """Return whether to cancel the job, None to go on waiting."""
    again = "cancels it" if owner else "leaves it alone"
    question = (
        f"Cancel {job_id}? y: yes, n: keep waiting, l: leave it running (Ctrl-C again {again}): "
    )
    answers = {"y": True, "n": None, "l": False}
    while True:
        interrupts.expect()
        notes.print_line(question, end="")
        answer = _read_line().strip().lower()[:1]
        if answer in answers:
            return answers[answer]


def _read_line() -> str:
    # Not one long read: it would hide a signal that arrives just before it.
    while not select.select([sys.stdin], [], [], _SIGNAL_CHECK_S)[0]:
        pass
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _cancel(client: MasterClient, job_id: str) -> None:
    try:
        with contextlib.suppress(KeyboardInterrupt):  # A further one: leave without the answer.
            view = client.cancel(job_id)
            status = view.status if view.status != "RUNNING" else "ending"
            notes.print_line(f"{job_id} is {status.lower()}")
    except MinisparkError as error:
        notes.print_line(f"{job_id} could not be cancelled: {error.info.message}")
