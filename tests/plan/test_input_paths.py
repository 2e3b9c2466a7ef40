"""What an input path means; plain Polars over the same files is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from minispark.errors import UsageError
from minispark.plan.input_paths import (
    InputFiles,
    Listing,
    ending,
    files_of,
    format_of,
    polars_sources,
)

Files = Callable[..., Path]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Write files, each with its name as its only row, and return their directory."""

    def write(*names: str, directory: str = "in") -> Path:
        for name in names:
            path = tmp_path / directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = pl.DataFrame({"name": [name]})
            if name.endswith(".parquet"):
                rows.write_parquet(path)
            else:
                path.write_text(f"name\n{name}\n")
        return tmp_path / directory

    return write


def names(found: InputFiles, directory: Path) -> list[str]:
    return [str(Path(file).relative_to(directory)) for file in found.files]


HIDDEN = [".a.csv", "_b.csv", "c.csv.crc", ".d/e.csv", "_f/g.csv", "h/.i.csv", "h/_j/k.csv"]
SHOWN = ["a-b.csv", "a.csv", "a/z.csv", "h/q/r.csv", "Z.csv"]


@pytest.mark.parametrize("kept_only", [True, False])
def test_a_directory_is_what_polars_reads_without_the_hidden_names(
    files: Files, *, kept_only: bool
) -> None:
    directory = files(*SHOWN) if kept_only else files(*SHOWN, *HIDDEN)
    (directory / "_SUCCESS").touch()
    found = files_of(str(directory))
    sources, prefixes = polars_sources([found], parquet=False)
    assert prefixes is None
    expected = pl.scan_csv(files(*SHOWN, directory="clean")).collect()
    assert_frame_equal(pl.scan_csv(sources).collect(), expected)
    assert names(found, directory) == expected["name"].to_list()


def test_names_that_look_like_patterns_are_names(files: Files) -> None:
    directory = files("[a].csv", "b*.csv", "bb.csv", directory="in[1]")
    for hidden in ([], ["_x.csv"]):
        files(*hidden, directory="in[1]")
        for path, expected in (
            (directory, ["[a].csv", "b*.csv", "bb.csv"]),
            (directory / "[a].csv", ["[a].csv"]),
            (directory / "b*.csv", ["b*.csv"]),
        ):
            sources, _ = polars_sources([files_of(str(path))], parquet=False)
            assert pl.scan_csv(sources).collect()["name"].to_list() == expected
    (directory / "b*.csv").unlink()
    assert names(files_of(str(directory / "b*.csv"), start=directory), directory) == ["bb.csv"]


def test_partitions_stay_columns_beside_hidden_files(files: Files) -> None:
    clean = pl.scan_parquet(files("_k=1/a.parquet", "_k=2/b.parquet", directory="clean")).collect()
    directory = files("_k=1/a.parquet", "_k=2/b.parquet", "_k=1/.a.parquet.crc", "_SUCCESS")
    sources, prefixes = polars_sources([files_of(str(directory))], parquet=True)
    found = pl.scan_parquet(sources, hidden_file_prefix=prefixes).collect()
    assert_frame_equal(found, clean)
    files("_temporary/k=3/c.parquet")
    with pytest.raises(UsageError, match="beside those of partitions"):
        polars_sources([files_of(str(directory))], parquet=True)


def test_a_delta_table_is_refused(files: Files) -> None:
    with pytest.raises(UsageError, match="deleted rows"):
        files_of(str(files("a.parquet", "_delta_log/0.json")))


def test_a_directory_without_rows_has_no_files(files: Files) -> None:
    directory = files("_hidden.csv")
    assert files_of(str(directory)).files == ()
    (directory / "empty.csv").touch()
    found = files_of(str(directory))
    assert found.files == ()
    assert found.listing is Listing.SAME
    schema = {"name": pl.String}
    assert pl.scan_csv(found.source, schema=schema).collect()["name"].to_list() == ["_hidden.csv"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", ".csv"),
        ("A.CSV.GZ", ".csv"),
        ("a.b.ndjson.zst", ".ndjson"),
        ("a.zst.csv", ".csv"),
        ("folder.csv/a.snappy.parquet", ".parquet"),
        ("folder.csv/a", ""),
        ("a.gz", ""),
        (".csv", ""),
    ],
)
def test_the_ending_before_that_of_the_compression_counts(name: str, expected: str) -> None:
    assert ending(name) == expected


def test_text_formats_hold_text(files: Files) -> None:
    directory = files("a.csv", "b.csv")
    found = files_of(str(directory)).files
    assert format_of(found, "in") == "csv"
    (directory / "b.csv").write_bytes(b"PAR1\x15\x00")
    with pytest.raises(
        UsageError, match=r"has a file that ends in \.csv without UTF-8 text"
    ) as caught:
        format_of(found, "in")
    assert (caught.value.info.file or "").endswith("b.csv")


def test_endings_of_one_format_go_together(files: Files) -> None:
    directory = files("a.jsonl", "b.ndjson", "c.json.gz")
    assert format_of(files_of(str(directory)).files, "in") == "jsonl"
    files("d")
    with pytest.raises(UsageError, match=r"\.jsonl \(1\), \.ndjson \(1\), .*none \(1\)"):
        format_of(files_of(str(directory)).files, "in")
