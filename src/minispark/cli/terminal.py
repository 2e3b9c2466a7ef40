"""Consoles, tables, bars and boxes of the command line.

Rich omits colours under NO_COLOR and off a terminal; bars appear on a terminal only.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.cells import cell_len
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from minispark.engines.console import PrintableConsole, progress_bars
from minispark.formatting import count_text
from minispark.printable import printable, printable_lines
from minispark.program import as_typed

_GAP = 3
"""Columns of the terminal between two columns of a table (`box.SIMPLE_HEAD`)."""
_EDGES = 2
_LEAST_WIDTH = 8
"""Of a column that is wrapped: in less a name cannot be read."""

output = PrintableConsole(soft_wrap=True)
"""Results."""
notes = PrintableConsole(stderr=True, soft_wrap=True)
"""Progress and remarks, on standard error: results can be piped."""


def print_hint(text: str, *, console: PrintableConsole = output) -> None:
    """Print a line that names commands to type, as the user's shell can call them."""
    console.print_line(as_typed(text))


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
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Print a table; the columns in ``numbers`` are right-aligned.

    On a terminal, columns in ``numbers`` and ``whole`` are never broken, and the others are
    wrapped. The last columns are left out if the terminal is too narrow, and a line says so.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    unbroken = {*numbers, *whole} if output.is_terminal else set(columns)
    minimums = minimum_widths(columns, cells, unbroken)
    shown = columns_that_fit(minimums, output.width) if output.is_terminal else len(columns)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, minimum in zip(columns[:shown], minimums, strict=False):
        table.add_column(
            Text(printable(name)),
            justify="right" if name in numbers else "left",
            no_wrap=name in unbroken,
            min_width=minimum,
        )
    for row in cells:
        table.add_row(*map(Text, row[:shown]))
    unlimited(output).print(table)
    if shown < len(columns):
        missing = ", ".join(name for name in columns[shown:] if name)
        notes.print_line(f"too narrow for: {missing}; --json has everything")


def minimum_widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], unbroken: Collection[str]
) -> list[int]:
    """Return the least width of each column: of its longest cell, or of some letters."""
    widths = []
    for place, name in enumerate(columns):
        widest = max((cell_len(row[place]) for row in rows), default=0)
        least = widest if name in unbroken else min(widest, _LEAST_WIDTH)
        widths.append(max(least, cell_len(name)))
    return widths


def table_width(widths: Sequence[int]) -> int:
    """Return the width of a table with columns of these widths."""
    return sum(widths) + _GAP * (len(widths) - 1) + _EDGES


def columns_that_fit(minimums: Sequence[int], width: int) -> int:
    """Return how many of the first columns fit, at least one."""
    counts = range(len(minimums), 1, -1)
    return next((count for count in counts if table_width(minimums[:count]) <= width), 1)


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
        Text.assemble((name.ljust(width + 2), "dim"), printable(as_typed(value)))
        for name, value in lines
    )
    panel = Panel(text, title=title, title_align="left", expand=False, box=box.ROUNDED)
    unlimited(notes).print(panel)
