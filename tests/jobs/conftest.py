import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.jobs.job_kit import NAMES, SALES, Collect, Job, Node, Write
from tests.runners.inline import run_inline

from minispark.jobs import compile_job, parse_job, plan_job


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = tmp_path / "root"
    data.mkdir()
    return data


@pytest.fixture
def write(root: Path) -> Write:
    def write(name: str, rows: list[dict[str, Any]]) -> Node:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / f"{name}.jsonl").write_text(text)
        return {"id": name, "op": "read_jsonl", "path": f"{name}.jsonl"}

    return write


@pytest.fixture
def collect(root: Path, tmp_path: Path) -> Collect:
    """Run a job with one result twice, as Polars does and cut into tasks; both must agree."""

    def collect(job: Job, *, ordered: bool = True) -> pl.DataFrame:
        compiled = compile_job(parse_job(job), data_root=root)
        (output,) = compiled.outputs
        whole = output.frame.collect()
        run = run_inline(
            plan_job({**job, "parallelism": 3}, data_root=root), tmp_path, data_root=root
        )
        cut = run.results[output.name]
        assert cut.schema == whole.schema
        if ordered:
            assert cut.rows() == whole.rows()
        else:
            assert sorted(map(repr, cut.rows())) == sorted(map(repr, whole.rows()))
        assert run.nodes[output.name] == whole.height
        return whole

    return collect


@pytest.fixture
def sales(write: Write) -> Node:
    return write("sales", SALES)


@pytest.fixture
def names(write: Write) -> Node:
    return write("names", NAMES)
