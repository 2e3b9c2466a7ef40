"""Data sets: the same bytes everywhere, whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
import pytest

from minispark.cli import datasets

PROMISED = ["e4a9d2e9fb87258b", "a20b48d7d2e80222", "b3b796eeeb1e8751"]
"""Of text.csv, sales.csv and catalog.csv of 2,000 lines: figures of two machines compare."""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def splitmix64(number: int, stream: int) -> int:
    mask = (1 << 64) - 1
    z = ((number + 1) * 0x9E3779B97F4A7C15 + stream) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 11


def test_the_bits_are_splitmix64_in_every_chunk() -> None:
    stream = (7 * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % (1 << 64)
    expected = [splitmix64(number, stream) for number in range(100)]
    assert datasets._bits(0, 100, 7).to_list() == expected
    assert datasets._bits(60, 40, 7).to_list() == expected[60:]


def test_text_is_the_same_for_the_same_seed_and_another_for_another(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        datasets.write_lines(tmp_path / name, lines=1_000, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_the_bytes_of_a_seed_are_promised(tmp_path: Path) -> None:
    path = tmp_path / "text.csv"
    datasets.write_lines(path, lines=2_000, seed=20_240_601)
    sales, catalog = datasets.write_sales(tmp_path, lines=2_000, seed=20_240_601)
    assert [digest(file)[:16] for file in (path, sales, catalog)] == PROMISED


def test_text_has_one_column_and_twelve_words_a_line_by_zipfs_law(tmp_path: Path) -> None:
    path = tmp_path / "text.csv"
    datasets.write_lines(path, lines=150_000, seed=3)
    text = pl.read_csv(path)
    assert text.columns == ["text"]
    assert text.height == 150_000
    words = text.select(pl.col("text").str.split(" ").list.len()).to_series()
    assert words.unique().to_list() == [12]
    counts = (
        text.select(pl.col("text").str.split(" ").explode().alias("word"))["word"]
        .value_counts()
        .sort("count", descending=True)["count"]
    )
    assert counts.len() == datasets.VOCABULARY
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.05)


def test_sales_match_the_catalog(tmp_path: Path) -> None:
    written: list[int] = []
    sales_path, catalog_path = datasets.write_sales(
        tmp_path, lines=120_000, seed=3, progress=written.append
    )
    sales, catalog = pl.read_csv(sales_path), pl.read_csv(catalog_path)
    assert written == [100_000, 120_000]
    assert sales.height == 120_000
    assert catalog.height == 2_400
    assert catalog.columns == ["product_id", "name", "category", "price"]
    assert sales.columns == ["sale_id", "product_id", "qty", "ts"]
    assert sales.join(catalog, on="product_id").height == sales.height
    assert sales["ts"].is_sorted()
    assert sales["qty"].min() == 1
    assert sales["qty"].max() == 10


def test_a_file_that_could_not_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "text.csv"
    path.write_text("old")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.write_lines(path, lines=10, seed=1, progress=interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
