"""How things look: consoles, tables, bars, boxes, and numbers as people write them.

Rich itself leaves out colours under NO_COLOR and off a terminal; bars are drawn on a terminal
only.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from minispark.engines.console import PrintableConsole
from minispark.printable import printable, printable_lines

output = PrintableConsole(soft_wrap=True)
"""Results."""
notes = PrintableConsole(stderr=True, soft_wrap=True)
"""Progress and remarks, so that results can be piped."""


@contextmanager
def phase(what: str) -> Iterator[None]:
    """Say what is going on: while it lasts on a terminal, else once."""
    if not notes.is_terminal:
        notes.print_line(what)
        yield
        return
    with notes.status(what):
        yield


@contextmanager
def counting_bar(title: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar while rows are made; yields a function to call with the rows just done.

    Off a terminal it says once what it makes.
    """
    if not notes.is_terminal:
        notes.print_line(f"{title}: {count_text(total)} {unit}")
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(printable(title), total=total)

        def advance(rows: int) -> None:
            bar.advance(task, rows)

        yield advance


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    numbers: Sequence[str] = (),
) -> None:
    """Print a table; the columns named in ``numbers`` are set to the right."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name in columns:
        table.add_column(
            Text(printable(name)),
            justify="right" if name in numbers else "left",
            no_wrap=not output.is_terminal,
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _whole_width(output).print(table)


def write_rows(encoded: Iterable[bytes]) -> None:
    """Write rows to standard output: byte for byte, but on a terminal as printable text."""
    if output.is_terminal:
        for text in codecs.iterdecode(encoded, "utf-8", errors="replace"):
            sys.stdout.write(printable_lines(text))
    else:
        sys.stdout.buffer.writelines(encoded)
    sys.stdout.flush()


def _whole_width(console: PrintableConsole) -> PrintableConsole:
    """Off a terminal there is no width to fit: nothing is cut, so that it can be searched."""
    if console.is_terminal:
        return console
    return PrintableConsole(file=console.file, width=10_000)


def print_box(title: str, lines: Sequence[tuple[str, str]]) -> None:
    """Print the one box that a start shows: what it is, where it is, what to do next."""
    width = max(len(name) for name, _ in lines)
    text = Text("\n").join(
        Text.assemble((name.ljust(width + 2), "dim"), printable(value)) for name, value in lines
    )
    panel = Panel(text, title=title, title_align="left", expand=False, box=box.ROUNDED)
    _whole_width(notes).print(panel)


def count_text(number: int | None) -> str:
    """Return ``12,000,000``, or a dash where nothing was counted."""
    return "-" if number is None else f"{number:,}"


def duration_text(seconds: float | None) -> str:
    """Return ``0.034 s`` or ``2.3 s``, or a dash."""
    if seconds is None:
        return "-"
    return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.2f} s"


def rate_text(records: int, seconds: float) -> str:
    """Return records a second, in three digits."""
    rate = records / seconds if seconds > 0 else 0.0
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if rate >= size:
            return f"{rate / size:.3g} {unit} records/s"
    return f"{rate:.3g} records/s"
