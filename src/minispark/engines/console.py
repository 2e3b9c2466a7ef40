"""The console of everything that we print with rich."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style

from minispark.printable import printable, printable_lines


class PrintableConsole(Console):
    """A console that shows control characters instead of obeying them.

    Nor does it read markup: a name such as ``[red]`` is shown as it is.
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
        """Print one line: a line break in the text is shown, not made."""
        self.print(printable(text), style=style, end=end)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the pieces of what is printed; only rich's own pieces control the terminal."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=printable_lines(segment.text))
