"""The consoles and progress bars of everything that we print with rich."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.style import Style

from minispark.printable import printable, printable_lines


class PrintableConsole(Console):
    """A console that writes control characters out; the terminal does not obey them.

    It does not read markup either: a name such as ``[red]`` appears as it is.
    """

    def __init__(
        self,
        *,
        stderr: bool = False,
        file: IO[str] | None = None,
        width: int | None = None,
        soft_wrap: bool = False,
    ) -> None:
        super().__init__(
            stderr=stderr,
            file=file,
            width=width,
            soft_wrap=soft_wrap,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def print_line(
        self, text: str = "", *, style: str | Style | None = None, end: str = "\n"
    ) -> None:
        """Print one line; line breaks in the text are written out."""
        self.print(printable(text), style=style, end=end)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments to print; only rich's own control segments control the terminal."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=printable_lines(segment.text))


def work_bars(console: PrintableConsole, *, bar_width: int = 40) -> Progress:
    """Return bars that show the percent of a work, and the field ``note`` of each bar."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width),
        TaskProgressColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def progress_bars(
    console: PrintableConsole, *, unit: str = "tasks", bar_width: int = 40
) -> Progress:
    """Return bars that count ``unit``; they disappear at the end. Off a terminal nothing is drawn.

    Descriptions must be `printable`.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
