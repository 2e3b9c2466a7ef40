"""How often a query reads each table, as Polars will: a table of WITH once for each use of it.

In a text of a few lines, each table of WITH may use the previous table twice, and so read the first
table a million times; the plan would have as many nodes.

Covers: counting, from the tokens of a text. A name that only looks like a table counts once.
Does not cover: whether the tables exist (Polars reports that).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

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
    """Whether the next tokens are a list of tables."""
    condition: bool = False
    """Whether they are in the condition of a join."""
    defines: bool = False
    """Whether the next tokens are a list of WITH."""
    name: str | None = None
    """Of the table that the list of WITH defines."""
    named: bool = False
    """Whether AS has come after the name."""
    outer: str | None = None
    """The table of WITH that this pair of brackets defines."""
    reads: Counter[str] = field(default_factory=Counter)


def table_reads(text: str, *, max_chars: int) -> Counter[str]:
    """Return the tables of a query, in lower case, and how often each is read.

    Raises
    ------
    SqlRefusedError
        The text cannot be read.
    """
    levels, defined = [_Level()], dict[str, Counter[str]]()
    for before, token in pairwise([Token("start", ""), *tokens_of(text, max_chars=max_chars)]):
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
            elif level.tables and not level.condition and _is_table(name, before.text.lower()):
                level.reads.update(defined.get(name, {name: 1}))
    for level in levels[:0:-1]:
        levels[0].reads.update(level.reads)
    return levels[0].reads


def _inner(level: _Level) -> _Level:
    if level.defines and level.named:
        return _Level(outer=level.name)
    return _Level(tables=level.tables and not level.condition)


def _is_clause(level: _Level, word: str) -> bool:
    """Set the level to the clause that a word begins; False if it begins none."""
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


def _is_table(name: str, before: str) -> bool:
    return (before in _BEGINS_TABLES or before in (",", "(")) and name not in _NO_TABLES
