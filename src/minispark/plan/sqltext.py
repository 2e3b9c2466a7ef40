"""Checks of SQL before Polars reads it: what may not be in it, and how deep it is nested.

Polars' SQL can read files by itself (``read_csv('/any/file')``) and a deeply nested expression
ends its process, so these checks refuse both, by their text. The tokens are those of Polars' own
parser; a spelling that Polars might cut into other tokens is refused too.

Covers: one expression, one query. Does not cover: whether Polars accepts either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile


class SqlRefusedError(Exception):
    """The text holds something that is not allowed there."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Token:
    """A word, an operator, a bracket or a text in quotes, as it is written."""

    kind: str
    text: str


_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|--[^\n]*)
  | (?P<comment>/\*)
  | (?P<text>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
  | (?P<number>\d[\w.]*|\.\d\w*)
  | (?P<word>[^\W\d]\w*)
  | (?P<open>[(\[])
  | (?P<close>[)\]])
  | (?P<comma>,)
  | (?P<dot>\.)
  | (?P<operator>::|[<>!]=|<>|\|\||[-+*/%=<>!|&^~:?@\#])
  | (?P<end>;)
    """,
    re.VERBOSE,
)
_PREFIXES = frozenset({"b", "date", "datetime", "interval", "time", "timestamp", "x"})
"""Words that may stand right before a text; other words (``E'...'``) change where it ends."""
_OPERATOR_WORD = re.compile(
    "and|between|case|div|else|except|ilike|in|intersect|is|join|like|not|or|regexp|rlike"
    "|similar|then|union|when|xor",
    re.IGNORECASE,
)
_CLAUSE_WORD = re.compile("select|from|where|group|having|order|qualify|limit", re.IGNORECASE)
_READ_FUNCTION = re.compile(r"(read|scan)_\w+|glob", re.IGNORECASE)
_READ_AGAIN = re.compile(
    "((try_|safe_)?cast|(try_)?convert|substr(ing)?|overlay|ceil|floor)", re.IGNORECASE
)
_MOST_READ_AGAIN = 8
_STATEMENTS = ("select", "with", "from", "values")
_FILES_HINT = "read files with a read_* node and draw an edge from it"


def check_expression(text: str, *, max_chars: int, max_depth: int) -> None:
    """Refuse an expression that is too long, too deep, or holds a query.

    Raises
    ------
    SqlRefusedError
        The expression is one of these.
    """
    tokens = tokens_of(text, max_chars=max_chars)
    if any(token.kind == "word" and token.text.lower() in ("select", "exists") for token in tokens):
        hint = "use an sql node over the tables that it needs"
        raise SqlRefusedError("an expression may not hold a query", hint)
    _check_calls(tokens)
    _check_read_again(tokens)
    _check_depth(tokens, max_depth)


def check_query(text: str, *, max_chars: int, max_depth: int) -> None:
    """Refuse a query that is too long, too deep, no SELECT, or reads files by itself.

    Raises
    ------
    SqlRefusedError
        The query is one of these.
    """
    tokens = tokens_of(text, max_chars=max_chars)
    _check_statement(tokens)
    _check_calls(tokens)
    _check_recursion(tokens)
    _check_read_again(tokens)
    _check_depth(tokens, max_depth)


def check_statement(text: str) -> None:
    """Refuse a text that is no query; only its first word is read.

    Raises
    ------
    SqlRefusedError
        The text is empty, or another statement: DELETE, CREATE TABLE, EXPLAIN.
    """
    _check_statement(_cut(text))


def files_named(text: str, *, max_chars: int) -> list[str]:
    """Return the paths that a query's table functions name.

    Raises
    ------
    SqlRefusedError
        The text cannot be read, or a path is not a plain text.
    """
    tokens = tokens_of(text, max_chars=max_chars)
    paths: list[str] = []
    for index, name in _read_calls(tokens):
        arguments = tokens[index + 2 : index + 3]
        if arguments and arguments[0].text == "[":
            items = takewhile(lambda token: token.text != "]", tokens[index + 3 :])
            arguments = [token for token in items if token.kind != "comma"]
        if not arguments or any(token.kind != "text" for token in arguments):
            raise SqlRefusedError(f"what {name!r} reads is not given as plain text")
        paths += [token.text[1:-1].replace("''", "'") for token in arguments]
    return paths


def tokens_of(text: str, *, max_chars: int) -> list[Token]:
    """Return the tokens of a text, without blanks and comments.

    Raises
    ------
    SqlRefusedError
        The text is too long, or a token in it is not known.
    """
    if len(text) > max_chars:
        raise SqlRefusedError(f"it has {len(text):,} characters; at most {max_chars:,} are allowed")
    tokens = list(_cut(text))
    if tokens and tokens[-1].kind == "end":
        tokens.pop()
    if any(token.kind == "end" for token in tokens):
        raise SqlRefusedError("there is more than one statement")
    return tokens


def _check_statement(tokens: Iterable[Token]) -> None:
    first = next((token for token in tokens if token.text != "("), None)
    if first is None:
        raise SqlRefusedError("the query is empty")
    if first.kind != "word" or first.text.lower() not in _STATEMENTS:
        hint = "begin with SELECT or WITH"
        raise SqlRefusedError(f"only a query is allowed, not {first.text[:40]!r}", hint)


def _cut(text: str) -> Iterator[Token]:
    position, before = 0, ""
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise SqlRefusedError(f"there is an unexpected {text[position : position + 12]!r}")
        kind, position = match.lastgroup, match.end()
        if kind == "comment":
            position, kind = _comment_end(text, position), "blank"
        if kind == "text" and before and before.lower() not in _PREFIXES:
            hint = "write texts as '...', with '' for a quote in it"
            raise SqlRefusedError(f"texts of the form {before[-12:]}'...' are not allowed", hint)
        before = match.group() if kind in ("word", "number", "text") else ""
        if kind == "text" and text[position : position + 1] == "'":
            raise SqlRefusedError("a text ends where another begins")
        if kind != "blank":
            yield Token(kind, match.group())


def _comment_end(text: str, position: int) -> int:
    """Return where a comment ends; a comment may hold comments."""
    depth = 1
    for match in re.compile(r"/\*|\*/").finditer(text, position):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    raise SqlRefusedError("a comment has no end")


def _read_calls(tokens: list[Token]) -> Iterator[tuple[int, str]]:
    """Yield index and name of each call of a function that reads files."""
    for index, (token, following) in enumerate(pairwise(tokens)):
        name = token.text.strip('"`') if token.kind in ("word", "quoted") else ""
        if following.text == "(" and _READ_FUNCTION.fullmatch(name):
            yield index, name


def _check_calls(tokens: list[Token]) -> None:
    for _, name in _read_calls(tokens):
        raise SqlRefusedError(f"the table function {name!r} is not allowed", _FILES_HINT)


def _check_recursion(tokens: list[Token]) -> None:
    for token, following in pairwise(tokens):
        pair = token.text.lower(), following.text.lower()
        if token.kind == following.kind == "word" and pair == ("with", "recursive"):
            raise SqlRefusedError("WITH RECURSIVE is not allowed: it may never end")


def _check_read_again(tokens: list[Token]) -> None:
    """Bound how deep functions nest that Polars' parser reads twice if something in them fails.

    The parser fails at too deep an expression, so each such function around it doubles the time.
    """
    around: list[tuple[str, bool]] = []
    edge = Token("end", "")
    for before, token, after in zip([edge, *tokens], tokens, [*tokens[1:], edge], strict=False):
        word = token.text.lower() if token.kind == "word" else ""
        if token.kind == "open":
            called = before.kind == "word" and _READ_AGAIN.fullmatch(before.text) is not None
            around.append(("bracket", called))
        elif word == "case":
            around.append(("case", after.text.lower() != "when"))
        elif token.kind == "close":
            while around and around.pop()[0] != "bracket":
                pass
        elif word == "end" and around and around[-1][0] == "case":
            around.pop()
        if sum(again for _, again in around) > _MOST_READ_AGAIN:
            hint = "compute the inner ones in a node before"
            message = f"CAST, SUBSTRING and the like are nested more than {_MOST_READ_AGAIN} deep"
            raise SqlRefusedError(message, hint)


def _check_depth(tokens: list[Token], max_depth: int) -> None:
    """Refuse a text whose tree may be too deep: operators in a row nest, and so do brackets."""
    levels = [_Level()]
    for token in tokens:
        level = levels[-1]
        if token.kind == "open":
            levels.append(_Level())
        elif token.kind == "close" and len(levels) > 1:
            inner = levels.pop().depth + 1
            levels[-1].inner = max(levels[-1].inner, inner)
        elif token.kind == "comma" or _CLAUSE_WORD.fullmatch(token.text):
            level.deepest, level.operators, level.inner = level.depth, 0, 0
        elif token.kind == "operator" or _OPERATOR_WORD.fullmatch(token.text):
            level.operators += 1
    if len(levels) + sum(level.depth for level in levels) - 1 > max_depth:
        hint = "split it over several nodes; a long list of OR is shorter with IN (...)"
        raise SqlRefusedError(f"it is nested more than {max_depth} deep", hint)


@dataclass(slots=True)
class _Level:
    """Counts of one pair of brackets: operators and inner brackets since the last comma."""

    operators: int = 0
    inner: int = 0
    deepest: int = 0

    @property
    def depth(self) -> int:
        return max(self.deepest, self.operators + self.inner)
