"""Which column a word count reads: looked up before the job is sent, if the files are here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import polars as pl

from minispark.errors import UsageError
from minispark.jobs.operators import ReadAny
from minispark.jobs.sources import open_source
from minispark.printable import did_you_mean, listed, shown

_DEFAULT = "text"
_SHOWN_CHARS = 60
"""A longer name is not repeated in the hint."""


@dataclass(frozen=True, slots=True)
class Words:
    """The column of a word count, None if only the machine that reads the files can say it."""

    column: str | None
    files: int = 0

    def __str__(self) -> str:
        if self.column is None:
            return f"words of the column {shown(_DEFAULT)}, or of the only text column"
        return f"words of the column {shown(self.column)}"


def words_of(paths: list[str], column: str | None, *, advice: str) -> Words:
    """Return the column whose words are counted: ``column``, ``text``, or the only one of texts.

    Files that are not here, or that cannot be read, are left to the engine, which says why.

    Raises
    ------
    UsageError
        There is no such column, or there are several; the hint is the columns and ``advice``.
    """
    try:
        table, matched = open_source(ReadAny(id="read", op="read", path=paths), None)
    except UsageError:
        return Words(column)
    texts = [name for name, dtype in table.schema.items() if dtype == pl.String]
    if column is not None:
        if column not in table.schema:
            msg = f"there is no column {shown(column)} in {paths[0]}"
            hint = did_you_mean(column, table.schema, else_list="columns are")
            raise UsageError(msg, code="MS-164", field="column", hint=hint)
        chosen = [column]
    else:
        chosen = [_DEFAULT] if _DEFAULT in texts else texts
    if len(chosen) != 1:
        number = "several text columns" if texts else "no text column"
        msg = f"{paths[0]} has {number}: {listed(texts or table.schema)}"
        plain = bool(texts) and texts[0].isprintable() and len(texts[0]) <= _SHOWN_CHARS
        example = shlex.quote(texts[0]) if plain else "NAME"
        hint = advice.format(column=example) if texts else None
        raise UsageError(msg, code="MS-164", field="column", hint=hint)
    if chosen[0] not in texts:
        msg = f"the column {shown(chosen[0])} holds {table.schema[chosen[0]]}, not texts"
        raise UsageError(msg, code="MS-164", field="column")
    return Words(chosen[0], len(matched.files))
