"""The runner of Polars' tests: what it runs, what it counts and when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_TESTS = """
import minispark
import polars as pl
import pytest

SORTED = pl.LazyFrame({"n": range(9)}).sort("n", descending=True)


def test_passes():
    assert SORTED.collect(engine="in-memory")["n"].to_list() == list(range(8, -1, -1))


@pytest.mark.parametrize("n", [1, 2])
def test_fails_on_the_engine(monkeypatch, n):
    monkeypatch.setattr(minispark.Engine, "collect", None)
    SORTED.collect()


def test_fails_everywhere():
    pl.LazyFrame().select("missing").collect()


def test_runs_no_query():
    assert pl.DataFrame({"n": [1]}).select("n").height == 1
"""
_UNDOES = """
import polars.lazyframe.frame as frame


def test_undoes():
    frame._select_engine = frame._validate_engine


def test_never_runs():
    pass
"""


def run(path: Path, *words: str) -> tuple[int, str]:
    suite = [sys.executable, "-m", "polars_suite", str(path), *words]
    folder = Path(__file__).parents[1]
    done = subprocess.run(suite, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    folder = tmp_path / "py-polars" / "tests"
    folder.mkdir(parents=True)
    (folder / "test_some.py").write_text(_TESTS)
    return folder


def counted(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def test_failures_are_compared_with_plain_polars_and_the_table(tests: Path) -> None:
    table, report = tests / "table.toml", tests / "report.json"
    name = "tests/test_some.py::test_fails_on_the_engine"
    table.write_text(f'[[group]]\nreason = "one of two"\ntests = ["{name}[1]"]\n')
    words = ("--mode", "small", "--table", str(table), "--report", str(report))
    code, text = run(tests, *words)
    assert code == 1, text
    found = counted(report)
    assert [failed["test"] for failed in found["failed"]] == [f"{name}[2]"]
    assert found["expected"] == [f"{name}[1]"]
    assert found["plain"] == ["tests/test_some.py::test_fails_everywhere"]
    assert "tests/test_some.py::test_passes" in found["used"]
    assert "tests/test_some.py::test_runs_no_query" not in found["used"]
    assert found["passed"] == 2

    table.write_text(
        f'[[group]]\nreason = "both"\ntests = ["{name}"]\n'
        '[[group]]\nreason = "out of date"\ntests = ["tests/test_some.py::test_passes"]\n'
    )
    code, text = run(tests, "--table", str(table), "--report", str(report))
    assert code == 1
    assert "passes now, remove it from the table: tests/test_some.py::test_passes" in text
    assert counted(report)["failed"] == []


def test_a_run_without_the_engine_is_no_proof(tests: Path) -> None:
    code, text = run(tests / "test_some.py", "--", "-k", "no_query")
    assert code == 1
    assert "no query reached the engine" in text
    (tests / "test_undoes.py").write_text(_UNDOES)
    code, text = run(tests / "test_undoes.py")
    assert code == 3
    assert "test_never_runs: the engine is not behind Polars any more" in text
