"""One line about a running job, replaced by a summary at the end; in a terminal or a notebook.

rich is loaded only where the line appears in a terminal, IPython only where a kernel has loaded it
already. Jupyter, VS Code and others replace output under its ``display_id``: no widgets are needed.
"""

from __future__ import annotations

import html
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from minispark.clock import monotonic_s
from minispark.engines.base import JobOutcome, OnChange
from minispark.errors import JobCancelledError, JobFailedError
from minispark.formatting import bytes_words, duration_words, many
from minispark.observe.estimate import left_words
from minispark.observe.views import JobView, running_stage
from minispark.printable import printable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from minispark.engines.console import PrintableConsole

Show = bool | Literal["auto"]

_DRAW_INTERVAL_S = 0.1
"""A notebook draws no faster, and every drawing is a message to it."""
_BAR_WIDTH = 24


class ProgressLine:
    """A line that shows each view of a job that it is called with, and a summary at the end.

    ``show="auto"`` shows it on a terminal and in a notebook.
    """

    def __init__(self, show: Show) -> None:
        in_notebook = _in_notebook()
        shown = (sys.stderr.isatty() or in_notebook) if show == "auto" else show
        self._line: _NotebookLine | _TerminalLine | None = None
        self._began_s = monotonic_s()
        if shown:
            self._line = _NotebookLine() if in_notebook else _TerminalLine(_stderr())

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self._line is None:
            return
        end = None if error is None else _end_of(error)
        if end is None:
            self._line.close()
        else:
            page = getattr(error, "job_url", None)
            self._line.ended(f"{end} after {duration_words(monotonic_s() - self._began_s)}", page)

    @property
    def listener(self) -> OnChange | None:
        """The line itself, or None if nothing is drawn: each change costs a request."""
        return self if self._line is not None and self._line.draws_progress else None

    def __call__(self, view: JobView) -> None:
        """Show the progress of the job."""
        if self._line is not None:
            waiting = "waiting for workers" if view.workers_waiting else None
            description = waiting or printable(running_stage(view.stages) or view.name)
            self._line.progress(description, view.progress, progress_note(view))

    def summarise(self, outcome: JobOutcome) -> None:
        """Replace the line by the summary of the job."""
        if self._line is not None:
            self._line.summary(summary_line(outcome))


def progress_note(view: JobView) -> str:
    """Return ``7/12 tasks, 1.2 GB of 4 GB, about 40 s left``; parts that are not known are omitted.

    What is read is said only until all is read.
    """
    done = sum(stage.tasks_done for stage in view.stages)
    total = sum(stage.tasks for stage in view.stages)
    parts = [f"{done}/{many(total, 'task')}"]
    if 0 < view.bytes_read < view.input_bytes:
        parts.append(f"{bytes_words(view.bytes_read)} of {bytes_words(view.input_bytes)}")
    left = left_words(view.left_s, view.left_sure)
    return ", ".join([*parts, left] if left else parts)


def summary_line(outcome: JobOutcome) -> str:
    """Return one line such as ``12.0 M rows, 2 stages, 0.8 s, 2 workers, 1 retry``.

    The rows are the input's if the job counts them, else the rows out of all stages.
    """
    summary = outcome.summary()
    metrics = summary.metrics
    parts = [
        f"{_short(metrics.input_records or metrics.all_records)} rows",
        many(metrics.stages, "stage"),
        f"{metrics.total_time_s:.1f} s",
        many(summary.workers, "worker"),
    ]
    if metrics.retries:
        parts.append(many(metrics.retries, "retry", "retries"))
    return ", ".join(parts)


def _end_of(error: BaseException) -> str | None:
    """Return how the job of an error ended, in words; None if the error is not of a job."""
    match error:
        case JobFailedError():
            return f"failed ({error.info.code})"
        case JobCancelledError():
            return "cancelled"
        case KeyboardInterrupt():
            return str(error).partition("\n")[0] or "interrupted"
        case _:
            return None


def _short(number: int) -> str:
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if number >= size:
            return f"{number / min(size, 1_000 if unit == 'k' else size):.1f} {unit}"
    return str(number)


def _stderr() -> PrintableConsole:
    from minispark.engines.console import PrintableConsole

    return PrintableConsole(stderr=True, soft_wrap=True)


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _link(url: str) -> str:
    address = html.escape(url, quote=True)
    return f'<a href="{address}" target="_blank">{address}</a>'


class _TerminalLine:
    """A bar on a terminal. In a log it would fill pages: there it is only the summary."""

    def __init__(self, console: PrintableConsole) -> None:
        from minispark.engines.console import work_bars

        self.draws_progress = console.is_terminal
        self._console = console
        self._bars = work_bars(console, bar_width=_BAR_WIDTH)
        self._task: TaskID | None = None

    def progress(self, description: str, percent: float, note: str) -> None:
        if self._task is None:
            self._bars.start()
            self._task = self._bars.add_task(description, total=100.0, note=note)
        self._bars.update(self._task, description=description, completed=percent, note=note)

    def summary(self, text: str) -> None:
        self.close()
        self._console.print_line(text, style="dim")

    def ended(self, text: str, page: str | None) -> None:
        self.close()
        self._console.print_line(": ".join(filter(None, (text, page))), style="red")

    def close(self) -> None:
        if self._task is not None:
            self._bars.stop()
            self._task = None


class _NotebookLine:
    """A line of a cell's output, created with the first drawing."""

    draws_progress = True

    def __init__(self) -> None:
        self._display: Any = None
        self._drawn_s = 0.0
        self._ended = False

    def progress(self, description: str, percent: float, note: str) -> None:
        """Draw a bar, unless the last drawing is very recent."""
        now = monotonic_s()
        if self._display is None or now - self._drawn_s >= _DRAW_INTERVAL_S:
            self._drawn_s = now
            self._draw(
                f'<progress value="{percent:.1f}" max="100"></progress> '
                f"{html.escape(description)}: {percent:.0f} %, {html.escape(note)}"
            )

    def summary(self, text: str) -> None:
        self._ended = True
        self._draw(f'<span style="opacity:0.7">{html.escape(text)}</span>')

    def ended(self, text: str, page: str | None) -> None:
        self._ended = True
        link = "" if page is None else f": {_link(page)}"
        self._draw(f'<span style="color:#c33">{html.escape(text)}</span>{link}')

    def close(self) -> None:
        """Remove the bar of a query that did not become a job."""
        if self._display is not None and not self._ended:
            self._draw("")

    def _draw(self, markup: str) -> None:
        ipython = import_module("IPython.display")
        if self._display is None:
            self._display = ipython.display(ipython.HTML(markup), display_id=True)
        else:
            self._display.update(ipython.HTML(markup))
