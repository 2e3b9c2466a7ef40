"""What the README shows works as it stands; `make walk` runs its commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from minispark.cli.datasets import write_lines
from minispark.jobs import parse_job
from minispark.settings import SchedulerSettings
from minispark.worker.settings import WorkerConfig

ROOT = Path(__file__).parents[1]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path / "data" / "benchmark_1m.csv", lines=100, seed=1)
    monkeypatch.chdir(tmp_path)
    exec(compile(block("python"), "README.md", "exec"), {"__name__": "readme"})  # noqa: S102
    assert "word" in capsys.readouterr().out


def test_the_json_job_is_a_job() -> None:
    job = parse_job(json.loads(block("json")))
    assert job.name == "wordcount-batch"


def test_numbers_of_the_spanish_architecture() -> None:
    defaults = SchedulerSettings()
    assert defaults.heartbeat_timeout_s == 10
    assert defaults.max_attempts == 3
    assert defaults.max_load_diff == 2
    worker = WorkerConfig(master_url="http://127.0.0.1:8080", token="t" * 8, work_dir=Path())
    assert worker.heartbeat_s == 2
    assert worker.port == 9000
