"""One page of a list: search, filter by status, sort, limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Value = float | str | None


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What a reader wants of a list."""

    limit: int
    after: str | None = None
    """Key of the last row of the page before."""
    search: str = ""
    """Words that a row must contain, in any case."""
    status: str | None = None
    sort: str = ""
    """Name of a column, with ``-`` before it from the largest; empty for the order of the rows."""

    @property
    def selects(self) -> bool:
        """Whether it leaves out or moves rows."""
        return bool(self.search.split() or self.status or self.sort)


@dataclass(frozen=True, slots=True)
class ListColumns(Generic[T]):
    """How the rows of a list are named, searched and sorted."""

    key: Callable[[T], str]
    status: Callable[[T], str]
    texts: Callable[[T], Iterable[str | None]]
    """What a search looks at."""
    sorts: Mapping[str, Callable[[T], Value]]

    def pattern(self) -> str:
        """Return the pattern of `ListQuery.sort`."""
        return f"^(-?({'|'.join(self.sorts)}))?$"


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """Rows of a list; ``after`` asks for the next page, None on the last."""

    rows: Sequence[T]
    after: str | None
    total: int
    """Rows that the query selects, on all pages."""


def select(rows: Iterable[T], query: ListQuery, columns: ListColumns[T]) -> ListPage[T]:
    """Return the page of a list that a query asks for.

    A row ``after`` that the query does not select keeps its place in the order.
    """
    ordered = _sorted(rows, query.sort, columns)
    selected = [row for row in ordered if _selects(query, row, columns)]
    page = selected
    if query.after is not None:
        keys = [columns.key(row) for row in ordered]
        start = keys.index(query.after) + 1 if query.after in keys else len(keys)
        later = set(keys[start:])
        page = [row for row in selected if columns.key(row) in later]
    more = len(page) > query.limit
    page = page[: query.limit]
    return ListPage(page, columns.key(page[-1]) if more else None, len(selected))


def _sorted(rows: Iterable[T], sort: str, columns: ListColumns[T]) -> list[T]:
    """Return rows in order, rows without a value last."""
    if not sort:
        return list(rows)
    value = columns.sorts[sort.removeprefix("-")]
    valued: list[tuple[float | str, T]] = []
    rest: list[T] = []
    for row in rows:
        found = value(row)
        if found is None:
            rest.append(row)
        else:
            valued.append((found.casefold() if isinstance(found, str) else found, row))
    valued.sort(key=lambda pair: pair[0], reverse=sort.startswith("-"))
    return [*(row for _, row in valued), *rest]


def _selects(query: ListQuery, row: T, columns: ListColumns[T]) -> bool:
    if query.status is not None and columns.status(row) != query.status:
        return False
    words = query.search.casefold().split()
    if not words:
        return True
    text = "\n".join(text for text in columns.texts(row) if text).casefold()
    return all(word in text for word in words)
