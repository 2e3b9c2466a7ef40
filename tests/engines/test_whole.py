from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import minispark as ms
from minispark.blocks.memory import Memory
from minispark.engines.whole import choose, whole_limit


@pytest.fixture
def rows(tmp_path: Path) -> pl.LazyFrame:
    path = tmp_path / "rows.csv"
    path.write_text("n\n" + "1\n" * 49)
    return pl.scan_csv(path)


def test_a_query_runs_whole_if_its_files_are_smaller_than_the_limit(rows: pl.LazyFrame) -> None:
    joined = rows.join(rows.filter(pl.col("n") > 1), on="n")
    assert choose([joined], limit_bytes=201).whole
    assert not choose([joined], limit_bytes=200).whole
    assert "it reads 200 B, not fewer than 200 B" in str(choose([joined], limit_bytes=200))


def test_a_query_with_a_python_function_runs_in_processes(rows: pl.LazyFrame) -> None:
    python = rows.select(pl.col("n").map_batches(lambda s: s, return_dtype=pl.Int64))
    choice = choose([python], limit_bytes=1 << 30)
    assert not choice.whole
    assert str(choice).endswith("several processes of this machine: it has a Python function.")


def test_a_query_with_a_python_function_that_is_one_task_runs_whole(rows: pl.LazyFrame) -> None:
    seen: list[int] = []

    def note(frame: pl.DataFrame) -> pl.DataFrame:
        seen.append(frame.height)
        return frame

    noted = rows.map_batches(note)
    choice = choose([noted], limit_bytes=1 << 30, python_bytes=1 << 20)
    assert str(choice).startswith("It runs whole in this process: it reads 100 B")
    assert not choose([noted], limit_bytes=1 << 30, python_bytes=100).whole
    for engine in (ms.Engine(), ms.Engine(fallback="raise")):
        seen.clear()
        assert noted.collect(engine=engine).height == 49
        assert sum(seen) == 49
    assert not ms.Engine(parallelism=2)._choose([noted]).whole


def test_the_limit_is_a_share_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(1 << 40, 1 << 36)
    monkeypatch.setattr("minispark.engines.whole.read_memory", lambda: memory)
    assert whole_limit() == 1 << 33
    monkeypatch.setattr("minispark.engines.whole.read_memory", lambda: None)
    assert whole_limit() == 1 << 28


def test_explain_says_where_a_query_runs(rows: pl.LazyFrame) -> None:
    assert str(ms.Engine().explain(rows)).startswith("It runs whole in this process: it reads 100")
    asked = str(ms.Engine(processes=True).explain(rows))
    assert asked.startswith("It runs in several processes of this machine: processes are asked for")
