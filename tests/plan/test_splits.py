"""How files become tasks: every byte once, in order, evenly."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minispark.plan.polars_plan import parse
from minispark.plan.scan_files import FileInfo
from minispark.plan.scans import ScanSource, scan_source
from minispark.plan.splits import cut_source, needs_quotes, quotes_spec
from minispark.plan.stages import ScanFormat, ScanSpec, Split
from minispark.settings import PlanSettings

_SETTINGS = PlanSettings(split_bytes=100, max_partitions=50)
_CSV = ScanSpec(ScanFormat.CSV)

Tasks = tuple[tuple[Split, ...], ...]


def files(*sizes: int, compressed: bool = False) -> tuple[FileInfo, ...]:
    return tuple(FileInfo(f"/d/{n}.csv", size, n, compressed) for n, size in enumerate(sizes))


def cut(source: ScanSource, partitions: int | None) -> Tasks:
    return cut_source(source, partitions=partitions, settings=_SETTINGS, data_root=None)


def shape(tasks: Tasks) -> list[list[tuple[str, int, int]]]:
    return [[(Path(s.path).stem, s.start, s.end) for s in task] for task in tasks]


@given(
    sizes=st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=12),
    partitions=st.none() | st.integers(1, 20),
)
def test_every_byte_is_in_one_split_in_file_order(
    sizes: list[tuple[int, bool]], partitions: int | None
) -> None:
    listed = tuple(
        FileInfo(f"/d/{n}", size, 7, compressed) for n, (size, compressed) in enumerate(sizes)
    )
    tasks = cut(ScanSource(_CSV, listed), partitions)
    if partitions is not None:
        assert len(tasks) == partitions
    assert 1 <= len(tasks) <= _SETTINGS.max_partitions
    splits = [split for task in tasks for split in task]
    assert [path for path, _ in pairwise_groups(splits)] == [file.path for file in listed]
    for file, (_, own) in zip(listed, pairwise_groups(splits), strict=True):
        assert own[0].start == 0
        assert own[-1].end == file.size
        assert all(a.end == b.start for a, b in pairwise(own))
        assert len(own) == 1 or (not file.compressed and all(a.start < a.end for a in own))
        assert all((split.size, split.mtime_ns) == (file.size, 7) for split in own)


def pairwise_groups(splits: list[Split]) -> list[tuple[str, list[Split]]]:
    splits_of_files: list[tuple[str, list[Split]]] = []
    for split in splits:
        if splits_of_files and splits_of_files[-1][0] == split.path:
            splits_of_files[-1][1].append(split)
        else:
            splits_of_files.append((split.path, [split]))
    return splits_of_files


def test_a_big_file_is_cut_evenly_and_small_ones_share_a_task() -> None:
    tasks = cut(ScanSource(_CSV, files(300, 10, 10)), 2)
    assert shape(tasks) == [[("0", 0, 160)], [("0", 160, 300), ("1", 0, 10), ("2", 0, 10)]]


def test_a_cut_moves_to_the_edge_of_a_file_that_is_near() -> None:
    tasks = cut(ScanSource(_CSV, files(98, 103, 99)), 3)
    assert shape(tasks) == [[("0", 0, 98)], [("1", 0, 103)], [("2", 0, 99)]]


def test_the_number_of_tasks_comes_from_bytes() -> None:
    assert len(cut(ScanSource(_CSV, files(550)), None)) == 6
    assert len(cut(ScanSource(_CSV, files(40)), None)) == 1
    assert len(cut(ScanSource(_CSV, files(*[1] * 1000)), None)) == 10
    assert len(cut(ScanSource(_CSV, files(1_000_000)), None)) == 50
    assert len(cut(ScanSource(_CSV, files(0)), None)) == 1


def test_one_partition_is_one_task_of_whole_files() -> None:
    tasks = cut(ScanSource(_CSV, files(550, 0, 20)), 1)
    assert shape(tasks) == [[("0", 0, 550), ("1", 0, 0), ("2", 0, 20)]]


def test_more_tasks_than_bytes_leaves_some_empty() -> None:
    tasks = cut(ScanSource(_CSV, files(2)), 5)
    assert len(tasks) == 5
    assert sum(len(task) for task in tasks) == 2


def test_a_compressed_file_is_one_split() -> None:
    tasks = cut(ScanSource(_CSV, files(1000, compressed=True)), 3)
    assert sorted(len(task) for task in tasks) == [0, 0, 1]


def test_a_file_that_is_listed_twice_is_not_cut() -> None:
    file = FileInfo("/d/a.csv", 1000, 1)
    tasks = cut(ScanSource(_CSV, (file, file)), 4)
    assert [(s.start, s.end) for task in tasks for s in task] == [(0, 1000), (0, 1000)]


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(b"a\n1\n" * 99),
        *(zlib.compress(b"a\n1\n" * 99, level) for level in (1, 4, 6, 9)),
        pa.compress(b"a\n1\n" * 99, codec="zstd", asbytes=True),
    ],
    ids=["gzip", "zlib 1", "zlib 4", "zlib 6", "zlib 9", "zstd"],
)
def test_what_polars_unpacks_is_known_as_compressed(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(packed)
    frame = pl.scan_csv(path)
    assert frame.collect().height == 99 * 2 - 1
    source = scan_source(parse(frame).body)
    assert source is not None
    assert source.files[0].compressed
    (only,) = [split for task in cut(source, 3) for split in task]
    assert (only.start, only.end) == (0, len(packed))


def test_paths_below_the_data_root_are_relative_to_it() -> None:
    source = ScanSource(_CSV, (FileInfo("/d/x/a.csv", 1, 1), FileInfo("/e/b.csv", 1, 1)))
    ((a, b),) = cut_source(source, partitions=1, settings=_SETTINGS, data_root=Path("/d"))
    assert (a.path, b.path) == ("x/a.csv", "/e/b.csv")


def test_a_path_that_leaves_the_data_root_stays_absolute() -> None:
    source = ScanSource(_CSV, (FileInfo("/d/../e/b.csv", 1, 1),))
    ((split,),) = cut_source(source, partitions=1, settings=_SETTINGS, data_root=Path("/d"))
    assert split.path == "/d/../e/b.csv"


@pytest.mark.parametrize(
    ("spec", "sizes", "needed"),
    [
        (_CSV, (1000,), True),
        (_CSV, (10, 10), False),
        (ScanSpec(ScanFormat.CSV, {"quote_char": None}), (1000,), False),
        (ScanSpec(ScanFormat.TEXT), (1000,), False),
    ],
)
def test_quotes_are_counted_only_where_a_csv_file_is_cut(
    spec: ScanSpec, sizes: tuple[int, ...], needed: bool
) -> None:
    source = ScanSource(spec, files(*sizes))
    assert needs_quotes(source, cut(source, 2)) is needed


def test_quotes_spec_names_the_quote_character() -> None:
    source = ScanSource(ScanSpec(ScanFormat.CSV, {"quote_char": "'"}), files(1))
    assert quotes_spec(source) == ScanSpec(ScanFormat.QUOTES, {"quote_char": "'"})
    assert quotes_spec(ScanSource(_CSV, files(1))).options == {"quote_char": '"'}


def test_parquet_is_cut_between_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(path, row_group_size=100)
    source = scan_source(parse(pl.scan_parquet(path)).body)
    assert source is not None
    splits = [split for task in cut(source, 4) for split in task]
    assert splits[0].start == 0
    assert splits[-1].end == 1000
    assert all(a.end == b.start for a, b in pairwise(splits))
    assert all(split.start % 100 == 0 for split in splits)
    assert len(splits) == 4


def test_parquet_of_one_row_group_is_one_split(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(path)
    source = scan_source(parse(pl.scan_parquet(path)).body)
    assert source is not None
    assert [(s.start, s.end) for task in cut(source, 3) for s in task] == [(0, 1000)]
