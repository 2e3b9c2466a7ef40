"""The list of commands in ``minispark --help``, in sections by what a user wants to do.

A command or group of commands names its section with ``rich_help_panel``. Typer reads that only
with Rich, which would take half of the time that ``--help`` may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

_WHOLE = 1_000
"""Characters of a command's first sentence: it is wrapped and not cut off."""


class SectionedGroup(TyperGroup):
    """A group that lists its commands by section; a command without one is under "Other"."""

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the sections in the order of their first commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                title = panel if isinstance(panel, str) else "Other"
                row = (name, command.get_short_help_str(_WHOLE))
                sections.setdefault(title, []).append(row)
        width = max((len(name) for rows in sections.values() for name, _ in rows), default=0)
        for title, rows in sections.items():
            with formatter.section(title):
                # One width for all sections, so that their texts are in one column.
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])
