"""Named functions against Python's own."""

import re
from collections.abc import Callable
from typing import get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minispark.jobs.functions import FILTERS, MAPS, SPLITTERS, row_count, words
from minispark.jobs.operators import OPERATORS

UNICODE_SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
RUNS = re.compile(f"[^{UNICODE_SPACES}]+")
"""Python's own ``\\s`` counts U+001C to U+001F too, which are no white space in Unicode."""
ODD = st.sampled_from([*UNICODE_SPACES, "\x1c", "\x1f", "\u200b", "\u180e", "\ufeff", "\0", '"'])
TEXTS = st.one_of(
    st.text(alphabet=st.sampled_from("ab  "), max_size=12),
    st.text(alphabet=st.one_of(st.sampled_from("ab "), ODD), max_size=12),
    st.text(alphabet=st.one_of(st.characters(codec="utf-8"), ODD), max_size=12),
)


def split(texts: list[str | None]) -> list[str]:
    frame = pl.LazyFrame({"text": texts}, schema={"text": pl.String})
    return SPLITTERS["tokenize"](frame, "text").collect()["token"].to_list()


@given(st.lists(st.none() | TEXTS, max_size=8))
@settings(max_examples=400, deadline=None)
def test_words_are_the_runs_of_what_is_not_white_space(texts: list[str | None]) -> None:
    assert split(texts) == [word for text in texts if text for word in RUNS.findall(text)]


@pytest.mark.parametrize("space", UNICODE_SPACES)
def test_every_white_space_parts_words(space: str) -> None:
    assert split([f"a{space}b", f"{space}é{space}{space}c{space}"]) == ["a", "b", "é", "c"]


def test_white_space_is_what_polars_means_by_it() -> None:
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    found = pl.select(pl.lit(every).str.extract_all(r"\s")).item().to_list()
    assert sorted(found) == sorted(UNICODE_SPACES)


def test_null_and_empty_texts_give_no_words() -> None:
    assert split([None, "", " ", "\t\n"]) == []
    assert split([]) == []


def test_both_names_of_the_splitter_are_one() -> None:
    assert SPLITTERS["tokenize"] is SPLITTERS["split_words"]


def test_a_row_with_other_white_space_is_seen_among_plain_ones() -> None:
    texts = ["a b", "a\tb", "ä b", "ä\u3000b"]
    frame = pl.DataFrame({"t": texts}).select(
        words("t").list.eval(pl.element().filter(pl.element() != ""))
    )
    assert frame["t"].to_list() == [["a", "b"], ["a", "b"], ["ä", "b"], ["ä", "b"]]


CASES = ["Ab C", "", "  x\t", "ÄÖ", "don't!", "1", None, "\u4e2d"]
EXPECTED: dict[str, Callable[[str], object]] = {
    "to_lower": str.lower,
    "to_upper": str.upper,
    "trim": str.strip,
    "reverse": lambda text: text[::-1],
    "strip_punctuation": lambda text: re.sub(r"[^\w\s]", "", text),
    "length": len,
}


@pytest.mark.parametrize("fn", list(MAPS))
def test_a_map_function_does_what_python_does(fn: str) -> None:
    found = pl.DataFrame({"t": CASES}).select(MAPS[fn](pl.col("t")))["t"].to_list()
    assert found == [None if text is None else EXPECTED[fn](text) for text in CASES]


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        ("non_empty", ["Ab C", "  x\t", "ÄÖ", "don't!", "1", "\u4e2d"]),
        ("contains_alpha", ["Ab C", "  x\t", "ÄÖ", "don't!", "\u4e2d"]),
    ],
)
def test_a_filter_function_lets_the_right_rows_pass(fn: str, expected: list[str]) -> None:
    frame = pl.DataFrame({"t": CASES}).filter(FILTERS[fn](pl.col("t")))
    assert frame["t"].to_list() == expected


@pytest.mark.parametrize(
    ("fn", "some", "none"),
    [("sum", 3, 0), ("count", 3, 0), ("min", 1, None), ("max", 1, None), ("mean", 1.0, None)],
)
def test_rows_without_a_value_count_one_each(fn: str, some: float, none: float | None) -> None:
    rows = pl.DataFrame({"a": [1, 2, 3]})
    assert rows.select(row_count(fn))["count"].to_list() == [some]
    assert rows.clear().select(row_count(fn))["count"].to_list() == [none]
    assert rows.group_by(pl.lit(1)).agg(row_count(fn))["count"].to_list() == [some]


@pytest.mark.parametrize(("op", "table"), [("flat_map", SPLITTERS), ("filter", FILTERS)])
def test_the_model_names_the_functions_that_there_are(op: str, table: dict[str, object]) -> None:
    annotation = OPERATORS[op].model_fields["fn"].annotation
    named = get_args(annotation) if op == "flat_map" else get_args(get_args(annotation)[0])
    assert set(named) == set(table)


def test_the_model_of_map_names_its_functions() -> None:
    named = get_args(get_args(OPERATORS["map"].model_fields["fn"].annotation)[0])
    assert set(named) == {*MAPS, "pair_with_one"}
