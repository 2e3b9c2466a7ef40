"""When two cached nodes have the same rows, and when one may not stand for the other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars import col

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.counters import counted
from minispark.plan.markers import cached, partitioned
from minispark.settings import PlanSettings

TEXT = "word,n\n" + "".join(f'"w{n % 7}",{n}\n' for n in range(100))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(TEXT)
    return path


def key(frame: pl.LazyFrame, *, partitions: int = 2, root: Path | None = None) -> str | None:
    settings = PlanSettings(parallelism=partitions, single_task_bytes=0)
    graph = plan_outputs([PlanOutput("out", frame)], settings=settings, data_root=root)
    (stage,) = (stage for stage in graph.stages if stage.cached is not None)
    assert stage.cached is not None
    return stage.cached.key


def rows(file: Path) -> pl.LazyFrame:
    return pl.scan_csv(file).filter(col("n") > 3)


def kept(file: Path) -> str | None:
    return key(cached(rows(file), "c"))


def test_the_same_rows_have_the_same_key(file: Path) -> None:
    assert kept(file) == kept(file)
    assert len(kept(file) or "") == 32


def test_it_is_the_same_in_another_process(file: Path) -> None:
    script = "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
    script += "import test_fingerprint as t; print(t.kept(Path(sys.argv[2])))"
    child = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(file)],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == kept(file)


def test_names_of_nodes_and_what_comes_after_change_nothing(file: Path) -> None:
    expected = kept(file)
    renamed = cached(counted(counted(pl.scan_csv(file), "a").filter(col("n") > 3), "b"), "d")
    assert key(renamed) == expected
    assert key(renamed.group_by("word").len()) == expected
    assert key(renamed.select("n")) == expected
    assert key(pl.concat([renamed.select("n"), pl.scan_csv(file).select("n")])) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda file: key(cached(pl.scan_csv(file).filter(col("n") > 4), "c")),
        lambda file: key(cached(pl.scan_csv(file).filter(col("word") > "3"), "c")),
        lambda file: key(cached(rows(file), "c"), partitions=3),
        lambda file: key(cached(rows(file).select("n"), "c")),
        lambda file: key(cached(rows(file).select("n", "word"), "c")),
        lambda file: key(cached(partitioned(rows(file), 3), "c")),
        lambda file: key(cached(pl.scan_csv(file, schema_overrides={"n": pl.Int32}), "c")),
        lambda file: key(cached(pl.scan_csv(file, null_values="3").filter(col("n") > 3), "c")),
        lambda file: key(cached(rows(file).group_by("word").len(), "c")),
        lambda file: key(cached(rows(file), "c"), root=file.parent),
    ],
)
def test_whatever_changes_rows_or_partitions_is_another_key(
    file: Path, change: Callable[[Path], str | None]
) -> None:
    other = change(file)
    assert other is not None
    assert other != kept(file)


def test_a_file_that_was_touched_written_or_moved_is_another(file: Path) -> None:
    seen = {kept(file)}
    os.utime(file, ns=(1, 1))
    seen.add(kept(file))
    file.write_text(TEXT + '"x",1\n')
    os.utime(file, ns=(1, 1))
    seen.add(kept(file))
    seen.add(kept(file.rename(file.with_name("other.csv"))))
    assert len(seen) == 4
    assert None not in seen


def test_an_order_that_counts_later_is_another_key(file: Path) -> None:
    """The groups come in one order in every run; the groups of the other job come in any order."""
    groups = cached(rows(file).group_by("word").len(), "c")
    assert key(groups.head(3)) != key(groups)


def test_rows_that_differ_each_time_have_no_key(file: Path) -> None:
    assert key(cached(rows(file).select(col("n").shuffle()), "c")) is None
    assert key(cached(rows(file).map_batches(lambda rows: rows), "c")) is None


def test_rows_of_files_that_the_planner_did_not_cut_have_no_key(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pl.DataFrame({"n": [1]}).write_parquet(file)
    assert key(cached(pl.scan_parquet(file.read_bytes()), "c")) is None


def test_nothing_is_pushed_into_what_is_kept(file: Path) -> None:
    frame = cached(rows(file), "c").filter(col("n") > 50).select("n")
    settings = PlanSettings(parallelism=2, single_task_bytes=0)
    graph = plan_outputs([PlanOutput("out", frame)], settings=settings)
    (stage,) = (stage for stage in graph.stages if stage.cached is not None)
    assert stage.pushed == ()
    assert stage.nodes == ()
