"""The public names: what is promised is there, cheap to import, and nothing else shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import minispark


@pytest.mark.parametrize("name", minispark.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(minispark, name) is not None


def test_dir_shows_the_public_names_before_they_are_loaded() -> None:
    assert set(minispark.__all__) <= set(dir(minispark))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Enigne'"):
        minispark.Enigne  # noqa: B018


def test_importing_the_package_loads_neither_polars_nor_the_http_libraries() -> None:
    code = "import json, sys, minispark; print(json.dumps(list(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert {"polars", "fastapi", "httpx2", "pydantic"}.isdisjoint(json.loads(out))


def test_a_small_query_loads_nothing_that_runs_other_processes() -> None:
    code = """
import json, sys
import polars as pl
import minispark
pl.LazyFrame({"n": [1]}).select(pl.col("n") + 1).collect(engine=minispark.Engine())
print(json.dumps(list(sys.modules)))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    heavy = {"httpx2", "minispark.scheduler.core", "minispark.worker", "pydantic", "structlog"}
    assert heavy.isdisjoint(json.loads(out))


def test_what_speaks_to_a_master_waits_for_polars_only_where_there_are_rows() -> None:
    modules = "minispark.cli.remote, minispark.cli.job_metrics"
    code = f"import sys, {modules}; print('polars' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out == "False\n"


def test_the_exceptions_form_one_tree() -> None:
    for name in minispark.__all__:
        value = getattr(minispark, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, minispark.MinisparkError)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(minispark.__file__).parent / "py.typed").exists()
