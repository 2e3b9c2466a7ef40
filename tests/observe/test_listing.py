"""A page of a list: search, status, order, and the next page."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from minispark.observe.listing import ListColumns, ListQuery, select


@dataclass(frozen=True)
class Fruit:
    name: str
    colour: str
    grams: float | None


FRUITS = [
    Fruit("Pear", "green", 170),
    Fruit("apple", "red", 150),
    Fruit("fig", "green", None),
    Fruit("Cherry", "red", 8),
    Fruit("lime", "green", 60),
]
COLUMNS: ListColumns[Fruit] = ListColumns(
    key=lambda fruit: fruit.name,
    status=lambda fruit: fruit.colour,
    texts=lambda fruit: (fruit.name, fruit.colour, None),
    sorts={"name": lambda fruit: fruit.name, "grams": lambda fruit: fruit.grams},
)


def names(query: ListQuery) -> list[str]:
    return [fruit.name for fruit in select(FRUITS, query, COLUMNS).rows]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", ["Pear", "apple", "fig", "Cherry", "lime"]),
        ("name", ["apple", "Cherry", "fig", "lime", "Pear"]),
        ("grams", ["Cherry", "lime", "apple", "Pear", "fig"]),
        # A row without a value is last in both directions.
        ("-grams", ["Pear", "apple", "lime", "Cherry", "fig"]),
    ],
)
def test_rows_come_in_the_order_of_a_column(sort: str, order: list[str]) -> None:
    assert names(ListQuery(10, sort=sort)) == order


def test_every_word_must_be_in_a_row_in_any_case() -> None:
    assert names(ListQuery(10, search="GREEN  i")) == ["fig", "lime"]
    assert names(ListQuery(10, search="green red")) == []
    assert names(ListQuery(10, search="r", status="red")) == ["apple", "Cherry"]


@pytest.mark.parametrize("sort", ["", "-grams", "name"])
def test_pages_together_are_the_list(sort: str) -> None:
    query = ListQuery(2, sort=sort, status="green")
    found: list[str] = []
    after: str | None = None
    while True:
        page = select(FRUITS, ListQuery(2, after, sort=sort, status="green"), COLUMNS)
        assert page.total == 3
        found += [fruit.name for fruit in page.rows]
        after = page.after
        if after is None:
            break
    assert found == names(ListQuery(10, sort=sort, status=query.status))


def test_the_row_before_keeps_its_place_when_the_filter_drops_it() -> None:
    # A running job was the last row of a page, and has ended since.
    assert names(ListQuery(10, "apple", status="green")) == ["fig", "lime"]
