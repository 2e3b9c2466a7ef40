"""``minispark demo``: the whole thing in a minute."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    *,
    lines: Annotated[int, typer.Option(min=10, help="Lines of text to count.")] = 1_000_000,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each side.")] = 5,
) -> None:
    """Count words on the embedded engine and on a real local cluster, beside plain Polars."""
    from minispark.cli.demo_run import show

    show(lines=lines, runs=runs)
