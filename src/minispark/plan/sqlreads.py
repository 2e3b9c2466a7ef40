"""How often a query reads each table, as Polars will: a table of WITH once for each use of it.

A text of a few lines may use each of its tables twice in the next, and so read the first one a
million times; the plan of it would grow as much.

Covers: counting, from the tokens of a text. What it takes for a table that is none counts once.
Does not cover: whether the tables exist (Polars says so).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from minispark.plan.sqltext import Token, tokens_of

_BEGINS_TABLES = frozenset({"from", "join"})
_ENDS_TABLES = frozenset(
    {
        *("where", "group", "having", "order", "qualify", "limit"),
        *("union", "except", "intersect", "select", "values"),
    }
)
_NO_TABLES = frozenset({"lateral", "select", "unnest", "values", "with"})


@dataclass(slots=True)
class _Level:
    """One pair of brackets."""

    tables: bool = False
    """Whether a list of tables is being read."""
    condition: bool = False
    """Whether that is in the condition of a join."""
    defines: bool = False
    """Whether a list of WITH is being read."""
    name: str | None = None
    named: bool = False
    """Whether AS has come after the name."""
    outer: str | None = None
    """The table of WITH whose rows this pair of brackets gives."""
    reads: Counter[str] = field(default_factory=Counter)


def table_reads(text: str, *, max_chars: int) -> Counter[str]:
    """Return the tables of a query, in lower case, and how often each is read.

    Raises
    ------
    SqlRefusedError
        The text cannot be read.
    """
    levels, defined = [_Level()], dict[str, Counter[str]]()
    for token, before in _with_previous(tokens_of(text, max_chars=max_chars)):
        level = levels[-1]
        if token.kind == "open":
            levels.append(_inner(level))
        elif token.kind == "close" and len(levels) > 1:
            levels.pop()
            if level.outer is None:
                levels[-1].reads.update(level.reads)
            else:
                defined[level.outer] = level.reads
                levels[-1].name, levels[-1].named = None, False
        elif token.kind == "comma":
            level.condition = False
        elif token.kind == "word" and _is_clause(level, token.text.lower()):
            continue
        elif token.kind in ("word", "quoted"):
            name = token.text.strip('"`').lower()
            if level.defines:
                level.name = level.name or name
            elif level.tables and not level.condition and _stands_for_table(name, before):
                level.reads.update(defined.get(name, {name: 1}))
    for level in levels[:0:-1]:
        levels[0].reads.update(level.reads)
    return levels[0].reads


def _with_previous(tokens: list[Token]) -> Iterator[tuple[Token, str]]:
    before = ""
    for token in tokens:
        yield token, before
        before = token.text.lower()


def _inner(level: _Level) -> _Level:
    reading = level.tables and not level.condition
    if level.defines and level.named:
        return _Level(outer=level.name)
    return _Level(tables=reading)


def _is_clause(level: _Level, word: str) -> bool:
    """Go on to the part of a query that a word begins; False where it begins none."""
    if word == "with":
        level.defines, level.tables = True, False
    elif word in _BEGINS_TABLES:
        level.tables, level.condition, level.defines = True, False, False
    elif word in _ENDS_TABLES:
        level.tables, level.defines = False, False
    elif word == "on":
        level.condition = True
    elif word == "as" and level.defines:
        level.named = True
    else:
        return False
    return True


def _stands_for_table(name: str, before: str) -> bool:
    return (before in _BEGINS_TABLES or before in (",", "(")) and name not in _NO_TABLES
