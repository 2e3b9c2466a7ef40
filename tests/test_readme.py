"""What the README shows works as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from minispark.cli.datasets import write_lines
from minispark.jobs import parse_job

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/architecture.md"]


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


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
