"""The examples and the documentation say what is so."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from tests.jobs.job_kit import refused
from tests.runners.inline import run_inline

from minispark.jobs import plan_job
from minispark.jobs.operators import OPERATORS
from minispark.jobs.sources import DTYPES

PROJECT = Path(__file__).parents[2]
DOCS = (PROJECT / "docs" / "json-jobs.md").read_text()
EXAMPLES = sorted((PROJECT / "examples").glob("*.json"))


@pytest.fixture
def data(root: Path) -> Path:
    data = root / "data"
    data.mkdir()
    for name in ("benchmark_1m", "large"):
        (data / f"{name}.csv").write_text('text\n"The cat, the dog!"\n\n42 the\n')
    shutil.copytree(PROJECT / "examples" / "words", root / "examples" / "words")
    return root


@pytest.fixture
def shop(data: Path) -> Path:
    (data / "data" / "sales.csv").write_text(
        "sale_id,product_id,qty,ts\n0,1,2,2023-01-01T00:00:04\n1,2,0,2023-01-02T00:00:00\n"
        "2,1,1,2023-02-01T00:00:00\n"
    )
    (data / "data" / "catalog.csv").write_text(
        "product_id,name,category,price\n1,a,x,1.5\n2,b,y,2.5\n"
    )
    return data


def run(path: Path, root: Path, directory: Path) -> dict[str, pl.DataFrame]:
    job = {**json.loads(path.read_text()), "parallelism": 2}
    return run_inline(plan_job(job, data_root=root), directory, data_root=root).results


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} >= {"wordcount", "wordcount-batch", "join", "sql"}


def test_the_word_counts_run(data: Path, tmp_path: Path) -> None:
    found = run(PROJECT / "examples/wordcount.json", data, tmp_path)["sort"]
    assert found.rows() == [
        ("the", 2), ("42", 1), ("The", 1), ("cat,", 1), ("dog!", 1)
    ]  # fmt: skip
    found = run(PROJECT / "examples/wordcount-batch.json", data, tmp_path)["agg"]
    files = [path.read_text() for path in (PROJECT / "examples" / "words").glob("*.csv")]
    lines = [line for text in files for line in text.splitlines()[1:]]
    assert dict(found.rows()) == Counter(" ".join(lines).lower().split())


def test_the_join_runs(shop: Path, tmp_path: Path) -> None:
    found = run(PROJECT / "examples/join.json", shop, tmp_path)["sort"]
    assert found.to_dicts() == [{"category": "x", "revenue": 4.5, "sales": 2}]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_planned(shop: Path, path: Path) -> None:
    """With the files of all data sets in ``data/``."""
    assert plan_job(json.loads(path.read_text()), data_root=shop).stages


def test_the_job_in_the_docs_is_the_example() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
    assert json.loads(block) == json.loads((PROJECT / "examples/wordcount-batch.json").read_text())


def test_the_job_on_the_page_of_the_cache_is_an_example() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", (PROJECT / "docs/cache.md").read_text(), re.DOTALL)
    assert json.loads(block) == json.loads((PROJECT / "examples/cached.json").read_text())


def test_every_error_in_the_docs_is_so(root: Path) -> None:
    (root / "x.csv").write_text("price\n1\n")
    (block,) = re.findall(r"```text\n(.*?)```", DOCS, re.DOTALL)
    cases = block.strip().split("\n\n")
    assert len(cases) >= 5
    for case in cases:
        job, said, *hint = case.split("\n")
        info = refused(json.loads(job), root)
        assert f"{info.code} {info.message}" == said
        assert info.hint == (hint[0].strip() if hint else None)


def test_the_docs_name_every_operator_field_and_dtype() -> None:
    for op, model in OPERATORS.items():
        assert f"`{op}`" in DOCS
        for name, field in model.model_fields.items():
            if name not in ("op", "id"):
                assert f"`{field.alias or name}`" in DOCS
    shown = DOCS.split("Dtypes in `schema`")[1].split("\n\n")[0]
    for name in DTYPES:
        numbered = re.sub(r"\d+$", "", name) in ("Int", "UInt")
        assert numbered or name == "Utf8" or f"`{name}`" in shown
