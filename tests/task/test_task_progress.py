"""What a running task says of what it has read."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from tests.task.bench import Bench, run_task

from minispark.blocks.fetch import FetchSettings
from minispark.plan.counters import counted
from minispark.plan.leaves import Leaf
from minispark.plan.stages import ScanFormat, ScanSpec, Split
from minispark.task.progress import begin, progress_of
from minispark.task.spec import ScanTask, TaskSpec

SCHEMA = {"n": pl.Int64(), "text": pl.String()}
ROWS = 20_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "input.csv"
    numbers = pl.int_range(ROWS, eager=True)
    pl.DataFrame({"n": numbers, "text": "t" + numbers.cast(pl.String)}).write_csv(file)
    return file


def task(bench: Bench, file: Path, *, start: int = 0, end: int | None = None) -> TaskSpec:
    status = file.stat()
    split = Split(
        str(file), start, status.st_size if end is None else end, status.st_size, status.st_mtime_ns
    )
    plan = counted(Leaf("in", SCHEMA).lazy(), "read").select(pl.col("n").sum())
    return bench.task(plan, scans=(ScanTask("in", ScanSpec(ScanFormat.CSV), (split,)),))


def test_the_records_of_a_part_are_estimated(bench: Bench, file: Path) -> None:
    spec = task(bench, file, start=file.stat().st_size // 2)
    run_task(spec, fetch=FetchSettings())
    progress = progress_of(spec, ran_s=3.0, polars_bytes=9 * file.stat().st_size)
    assert progress.key == spec.key
    assert progress.nodes["read"] == pytest.approx(ROWS / 2, rel=0.1)
    assert progress.expected_rows == pytest.approx(progress.nodes["read"], rel=0.02)
    # How far the query is follows from the rows: the part was read at once.
    assert progress.share is None
    assert progress.bytes_read == pytest.approx(file.stat().st_size / 2, rel=0.01)


def test_of_a_whole_file_it_is_what_polars_has_read(bench: Bench, file: Path) -> None:
    spec, size = task(bench, file), file.stat().st_size
    begin()
    progress = progress_of(spec, ran_s=3.0, polars_bytes=size // 4)
    assert progress.share == pytest.approx(0.25, abs=0.001)
    assert (progress.bytes_read, progress.expected_rows, dict(progress.nodes)) == (size // 4, 0, {})
    # It has not ended, and what else the process reads is no input.
    progress = progress_of(spec, ran_s=3.0, polars_bytes=size * 3)
    assert (progress.share, progress.bytes_read) == (0.99, size)
    assert progress_of(spec, ran_s=3.0, polars_bytes=None).share is None


def test_bytes_say_nothing_of_a_compressed_file(bench: Bench, file: Path) -> None:
    packed = file.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    begin()
    assert progress_of(task(bench, packed), ran_s=3.0, polars_bytes=100).share is None


def test_blocks_are_bytes_that_were_read(bench: Bench) -> None:
    frame = pl.DataFrame({"n": range(1000)})
    spec = bench.task(Leaf("in", frame.schema).lazy(), bench.leaf("in", frame, frame))
    report = run_task(spec, fetch=FetchSettings())
    progress = progress_of(spec, ran_s=3.0, polars_bytes=77)
    assert progress.bytes_read == report.block_bytes_read > 2 * 8_000
    assert progress.share is None
    begin()
    assert progress_of(spec, ran_s=3.0, polars_bytes=77).bytes_read == 0
