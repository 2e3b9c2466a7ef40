"""A page of a list for templates: its rows, and the addresses of other pages and orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

from minispark.observe.listing import ListPage, ListQuery

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ListView(Generic[T]):
    """What a template shows of a list; ``query`` are the parameters of the present address."""

    path: str
    query: Mapping[str, str]
    rows: Sequence[T]
    after: str | None
    total: int

    @classmethod
    def of(cls, path: str, query: ListQuery, page: ListPage[T]) -> ListView[T]:
        """Return the view of a page."""
        parameters = {
            "q": query.search,
            "status": query.status,
            "sort": query.sort,
            "after": query.after,
        }
        given = {name: value for name, value in parameters.items() if value}
        return cls(path, given, page.rows, page.after, page.total)

    @property
    def sort(self) -> str:
        """The column of the order, with ``-`` before it from the largest."""
        return self.query.get("sort", "")

    @property
    def selects(self) -> bool:
        """Whether rows may be left out."""
        return bool(self.query.keys() & {"q", "status"})

    def link(self, **changes: str) -> str:
        """Return the address with other parameters; the first page, unless ``after`` is given."""
        parameters = {**self.query, "after": "", **changes}
        given = {name: value for name, value in parameters.items() if value}
        return f"{self.path}?{urlencode(given)}" if given else self.path
