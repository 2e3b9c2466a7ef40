"""Shows a job while it runs: a bar per stage on a terminal, else a line when a stage changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from minispark.cli.terminal import notes
from minispark.observe.views import JobView
from minispark.printable import printable

Watcher = Callable[[JobView], None]


@contextmanager
def job_progress(*, quiet: bool = False) -> Iterator[Watcher]:
    """Yield a function to call with each new view of the job."""
    if quiet:
        yield lambda view: None
    elif notes.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("tasks"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=notes, transient=True) as bars:
            yield _Bars(bars)
    else:
        yield _Lines()


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._rows = {"": bars.add_task("job", total=None)}

    def __call__(self, view: JobView) -> None:
        title = view.job_id + (": waits for workers" if view.workers_waiting else "")
        self._bars.update(
            self._rows[""],
            description=printable(title),
            total=sum(stage.tasks for stage in view.stages) or None,
            completed=sum(stage.tasks_done for stage in view.stages),
        )
        for stage in view.stages:
            if stage.id not in self._rows:
                name = f"  {printable(stage.name)}"
                self._rows[stage.id] = self._bars.add_task(name, total=stage.tasks)
            self._bars.update(self._rows[stage.id], completed=stage.tasks_done)


class _Lines:
    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, view: JobView) -> None:
        if view.workers_waiting:
            self._say(f"{view.job_id} waits for workers")
        for stage in view.stages:
            if stage.status != "PENDING":
                self._say(f"stage {stage.name} {stage.status.lower()} ({stage.tasks} tasks)")

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            notes.print_line(line)
