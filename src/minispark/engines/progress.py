"""One line that tells how a job goes, replaced by a summary when it is over.

rich is loaded only where the line is shown.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from minispark.engines.base import JobOutcome, OnChange
from minispark.engines.notebook import NotebookLine, in_notebook
from minispark.observe.views import JobView
from minispark.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from minispark.engines.console import PrintableConsole

Show = bool | Literal["auto"]


def is_shown(show: Show) -> bool:
    """Whether to show progress; ``"auto"`` means on a terminal and in a notebook."""
    if show == "auto":
        return sys.stderr.isatty() or in_notebook()
    return show


class ProgressLine:
    """Call it with each view of the job; `summarise` replaces the line by the summary."""

    def __init__(self, show: Show) -> None:
        self._shown = is_shown(show)
        self._notebook = NotebookLine() if self._shown and in_notebook() else None
        self._console: PrintableConsole | None = None
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressLine:
        if self._shown and self._notebook is None:
            self._console = _stderr()
            # Elsewhere a line that is drawn again and again fills the log; the summary does not.
            if self._console.is_terminal:
                self._progress = _bar(self._console)
                self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._notebook is not None and kind is not None:
            self._notebook.clear()

    @property
    def listener(self) -> OnChange | None:
        """Itself, or None where there is nothing to draw: to hear of changes costs requests."""
        drawn = self._progress is not None or self._notebook is not None
        return self if drawn else None

    def __call__(self, view: JobView) -> None:
        """Show how the job stands."""
        done = sum(stage.tasks_done for stage in view.stages)
        total = sum(stage.tasks for stage in view.stages)
        running = [stage.name for stage in view.stages if stage.status == "RUNNING"]
        named = printable(", ".join(running) or view.name)
        what = "waiting for workers" if view.workers_waiting else named
        if self._notebook is not None:
            self._notebook.progress(what, done, total)
        if self._progress is None:
            return
        if self._task is None:
            self._task = self._progress.add_task(what, total=total)
        self._progress.update(self._task, description=what, completed=done, total=total)

    def summarise(self, outcome: JobOutcome) -> None:
        """Say what the job did."""
        if self._progress is not None:
            self._progress.stop()
        if self._notebook is not None:
            self._notebook.text(summary(outcome))
        if self._console is not None:
            self._console.print(summary(outcome), style="dim")


def summary(outcome: JobOutcome) -> str:
    """Return one line such as ``12.0 M rows, 2 stages, 0.8 s, 2 workers, 1 retry``.

    The rows are those of the input where they are counted, else those that the stages gave out.
    """
    figures = outcome.figures()
    metrics = figures.metrics
    parts = [
        f"{_short(metrics.input_records or metrics.all_records)} rows",
        _counted(metrics.stages, "stage"),
        f"{metrics.total_time_s:.1f} s",
        _counted(figures.workers, "worker"),
    ]
    if metrics.retries:
        parts.append(_counted(metrics.retries, "retry", "retries"))
    return ", ".join(parts)


def _short(number: int) -> str:
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if number >= size:
            return f"{number / min(size, 1_000 if unit == 'k' else size):.1f} {unit}"
    return str(number)


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _stderr() -> PrintableConsole:
    from minispark.engines.console import PrintableConsole

    return PrintableConsole(stderr=True)


def _bar(console: PrintableConsole) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total} tasks"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
