from __future__ import annotations

import subprocess
import sys

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import dataframes

from minispark.plan.columns import exact_column
from minispark.plan.exchanges import exchange_of
from minispark.plan.hashing import hash_vector, key_hash
from minispark.plan.stages import Output, OutputKind

NAN = float("nan")
OTHER_NAN = pl.Series([0xFFF8000000000001], dtype=pl.UInt64).reinterpret(dtype=pl.Float64)[0]


def hashes(column: pl.Series) -> list[int]:
    return key_hash(column.to_frame("k"), [pl.col("k")]).to_list()


@pytest.mark.parametrize("dtype", [pl.Float16, pl.Float32, pl.Float64])
@pytest.mark.parametrize("wrap", ["bare", "list", "array", "struct"])
def test_zeros_and_nans_are_one_value_each(dtype: pl.DataType, wrap: str) -> None:
    bare = pl.Series([0.0, -0.0, NAN, OTHER_NAN], dtype=dtype)
    column = {
        "bare": bare,
        "list": bare.reshape((4, 1)).arr.to_list(),
        "array": bare.reshape((4, 1)),
        "struct": bare.to_frame("f").to_struct("s"),
    }[wrap]
    zero, minus_zero, nan, other_nan = hashes(column)
    assert zero == minus_zero
    assert nan == other_nan
    assert zero != nan


@given(st.lists(st.text(max_size=40) | st.none(), min_size=1, max_size=20))
def test_categories_are_their_text(values: list[str | None]) -> None:
    text = pl.Series(values, dtype=pl.String)
    names = sorted({value for value in values if value is not None}, reverse=True)
    expected = hashes(text)
    assert hashes(text.cast(pl.Categorical)) == expected
    assert hashes(text.cast(pl.Enum(names))) == expected
    assert hashes(text.cast(pl.Enum([*names[::-1], "\0unused"]))) == expected
    listed = text.reshape((-1, 1)).arr.to_list()
    assert hashes(listed.cast(pl.List(pl.Categorical))) == hashes(listed)
    boxed = text.to_frame("t").to_struct("s")
    assert hashes(boxed.cast(pl.Struct({"t": pl.Enum(names)}))) == hashes(boxed)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    frame=dataframes(lazy=False, min_size=1, max_size=12, excluded_dtypes=[pl.Object]),
    data=st.data(),
)
def test_neither_chunks_nor_place_nor_neighbours_matter(
    frame: pl.DataFrame, data: st.DataObject
) -> None:
    keys = [pl.col(name) for name in frame.columns]
    expected = key_hash(frame, keys).to_list()
    cut = data.draw(st.integers(0, frame.height))
    chunked = pl.concat([frame.slice(cut), frame.slice(0, cut)], rechunk=False)
    assert key_hash(chunked, keys).to_list() == expected[cut:] + expected[:cut]
    row = data.draw(st.integers(0, frame.height - 1))
    assert key_hash(frame.slice(row, 1), keys).to_list() == [expected[row]]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    frame=dataframes(
        cols=1, lazy=False, min_size=2, max_size=12, allow_null=True, excluded_dtypes=[pl.Object]
    )
)
def test_the_rows_of_a_group_have_one_hash(frame: pl.DataFrame) -> None:
    frame.columns = ["k"]
    hidden = pl.when(pl.int_range(pl.len()) % 2 == 0).then("k")  # Values may be left below nulls.
    frame = pl.concat([frame, frame.reverse(), frame.select(hidden)], rechunk=False)
    hashed = frame.with_columns(key_hash(frame, [pl.col("k")]).alias("hash"))
    assert hashed.group_by("k").agg(pl.col("hash").n_unique())["hash"].max() == 1


def test_several_keys_combine_in_order() -> None:
    frame = pl.DataFrame({"a": [1, 2, 1], "b": [2, 1, 2]})
    hashed = key_hash(frame, [pl.col("a"), pl.col("b")]).to_list()
    assert hashed[0] == hashed[2] != hashed[1]


def test_a_constant_key_is_one_of_every_row() -> None:
    frame = pl.DataFrame({"a": [1, 2, 3]})
    constant = key_hash(frame, [pl.lit("x")])
    assert constant.len() == 3
    assert constant.n_unique() == 1
    assert constant[0] == hashes(pl.Series(["x"]))[0]


def test_the_vector_is_the_same_in_another_process() -> None:
    code = "from minispark.plan.hashing import hash_vector; print(hash_vector())"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == str(hash_vector())
    assert len(hash_vector()) > 60


@pytest.mark.parametrize("partitions", [1, 2, 8, 9, 100])
def test_splitting_keeps_rows_order_and_columns(partitions: int) -> None:
    frame = pl.select(n=pl.int_range(5_000), word=(pl.int_range(5_000) * 7 % 501).cast(pl.String))
    key = pl.col("word").str.to_uppercase()
    output = Output(OutputKind.HASH, partitions, (key.meta.serialize(),))
    parts = exchange_of(output).split(frame)
    assert len(parts) == partitions
    assert all(part.columns == ["n", "word"] for part in parts)
    assert all(part["n"].is_sorted() for part in parts)
    assert pl.concat(parts).sort("n").equals(frame)
    words = [set(part["word"]) for part in parts]
    assert sum(map(len, words)) == len(set().union(*words)) == 501
    if 1 < partitions < 100:
        assert min(part.height for part in parts) > 5_000 / partitions / 3


@pytest.mark.parametrize("partitions", [8, 9])
@pytest.mark.parametrize("names", [["*", "^.*$"], ["__minispark_key_0", "__minispark_partition"]])
def test_splitting_keeps_columns_of_whatever_names(names: list[str], partitions: int) -> None:
    frame = pl.select(k=pl.int_range(50) % 7, v=pl.int_range(50))
    frame.columns = names
    key = exact_column(names[0]).meta.serialize()
    parts = exchange_of(Output(OutputKind.HASH, partitions, (key,))).split(frame)
    assert {tuple(part.columns) for part in parts} == {tuple(names)}
    assert sorted(row for part in parts for row in part.rows()) == sorted(frame.rows())


def test_splitting_nothing_gives_the_columns_of_every_partition() -> None:
    frame = pl.DataFrame(schema={"a": pl.Int64, "b": pl.String})
    output = Output(OutputKind.HASH, 3, (pl.col("a").meta.serialize(),))
    assert [part.schema for part in exchange_of(output).split(frame)] == [frame.schema] * 3


@pytest.mark.parametrize("partitions", [2, 30])
def test_both_sides_of_a_join_meet(partitions: int) -> None:
    left = pl.DataFrame({"k": ["a", "b", None, "d"]}, schema={"k": pl.Categorical})
    right = pl.DataFrame({"x": [0, 0, 0, 0], "j": ["d", None, "b", "a"]})
    split_left = exchange_of(Output(OutputKind.HASH, partitions, (_key("k"),))).split(left)
    split_right = exchange_of(Output(OutputKind.HASH, partitions, (_key("j"),))).split(right)
    for left_part, right_part in zip(split_left, split_right, strict=True):
        assert set(left_part["k"].to_list()) == set(right_part["j"].to_list())


def _key(name: str) -> bytes:
    return pl.col(name).meta.serialize()
