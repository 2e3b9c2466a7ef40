"""Consoles, tables, bars and boxes of the command line.

Rich omits colours under NO_COLOR and off a terminal; bars appear on a terminal only.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from minispark.engines.console import PrintableConsole, progress_bars
from minispark.formatting import count_text
from minispark.printable import printable, printable_lines

output = PrintableConsole(soft_wrap=True)
"""Results."""
notes = PrintableConsole(stderr=True, soft_wrap=True)
"""Progress and remarks, on standard error: results can be piped."""


@contextmanager
def phase(title: str) -> Iterator[None]:
    """Show what the block does: on a terminal while it lasts, else as one line."""
    if not notes.is_terminal:
        notes.print_line(title)
        yield
        return
    with notes.status(title):
        yield


@contextmanager
def counting_bar(title: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar; yield a function to call with the number of units that are done.

    Off a terminal it prints the title once.
    """
    if not notes.is_terminal:
        notes.print_line(f"{title}: {count_text(total)} {unit}")
    with progress_bars(notes, unit=unit) as bar:
        task = bar.add_task(printable(title), total=total)

        def show(done: int) -> None:
            bar.update(task, completed=done)

        yield show


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()
) -> None:
    """Print a table; the columns in ``numbers`` are right-aligned."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(
            Text(printable(name)),
            justify="right" if name in numbers else "left",
            no_wrap=not output.is_terminal,
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    unlimited(output).print(table)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and their values, one pair a line."""
    width = max(len(name) for name, _ in pairs) + 2
    for name, value in pairs:
        output.print_line(name.ljust(width) + value)


def write_rows(encoded: Iterable[bytes]) -> None:
    """Write rows to standard output: as they are, or on a terminal as printable text."""
    if output.is_terminal:
        for text in codecs.iterdecode(encoded, "utf-8", errors="replace"):
            sys.stdout.write(printable_lines(text))
    else:
        sys.stdout.buffer.writelines(encoded)
    sys.stdout.flush()


def unlimited(console: PrintableConsole, *, width: int = 10_000) -> PrintableConsole:
    """Return a console that off a terminal cuts no line at the usual 80 columns."""
    return console if console.is_terminal else PrintableConsole(file=console.file, width=width)


def print_box(title: str, lines: Sequence[tuple[str, str]]) -> None:
    """Print the box at the start of a server: its name, its addresses, the next command."""
    width = max(len(name) for name, _ in lines)
    text = Text("\n").join(
        Text.assemble((name.ljust(width + 2), "dim"), printable(value)) for name, value in lines
    )
    panel = Panel(text, title=title, title_align="left", expand=False, box=box.ROUNDED)
    unlimited(notes).print(panel)
