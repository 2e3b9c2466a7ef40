"""The tour names files, classes, functions and line counts as they are.

``MINISPARK_TEST_REGENERATE=1 pytest tests/docs/test_tour.py`` writes the line counts.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minispark.jobs import plan_job
from minispark.plan.explain import render_stages

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tour.md").read_text()
STOP = re.compile(r"^`(src/\S+\.py)` · (.+) · (\d+) lines$", re.M)
STOPS = STOP.findall(PAGE)
MOST_LINES = 2_500


def names_in(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from names_in(node.body, f"{prefix}{node.name}.")


def lines_of(path: str) -> int:
    return len((ROOT / path).read_text().splitlines())


def test_every_numbered_section_is_a_stop_at_one_file() -> None:
    titles = re.findall(r"^## (\d+)\. .*\n\n(.*)$", PAGE, re.M)
    assert [int(number) for number, _ in titles] == list(range(1, len(titles) + 1))
    assert [line for _, line in titles if STOP.match(line) is None] == []
    assert len(titles) == len(STOPS) >= 12


@pytest.mark.parametrize(("path", "names", "_lines"), STOPS)
def test_the_names_of_a_stop_are_in_its_file(path: str, names: str, _lines: str) -> None:
    there = set(names_in(ast.parse((ROOT / path).read_text()).body))
    named = re.findall(r"`([\w.]+)`", names)
    assert named
    assert set(named) - there == set()


def with_counts(page: str) -> str:
    """Return the page with the line counts of today."""
    total = sum(lines_of(path) for path in {path for path, _, _ in STOPS})
    page = STOP.sub(lambda stop: f"`{stop[1]}` · {stop[2]} · {lines_of(stop[1])} lines", page)
    return re.sub(r"(All stops together are\s+)[\d,]+", rf"\g<1>{total:,}", page)


def test_line_counts_are_right_and_few() -> None:
    page = with_counts(PAGE)
    if os.environ.get("MINISPARK_TEST_REGENERATE"):
        (ROOT / "docs" / "tour.md").write_text(page)
    assert page == (ROOT / "docs" / "tour.md").read_text()
    total = re.search(r"All stops together are\s+([\d,]+)", page)
    assert total is not None
    assert int(total[1].replace(",", "")) <= MOST_LINES


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`((?:src|tests|docs)/[\w./-]+)`", PAGE)
    assert len(named) > len(STOPS)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_job_has_the_plan_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    for text, name in re.findall(r"^printf '(.*)' > (\S+)$", PAGE, re.M):
        (tmp_path / name).write_text(text.replace("\\n", "\n"))
    job = re.search(r"<<'END'\n(.*?)\nEND$", PAGE, re.M | re.S)
    plan = re.search(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
    assert job is not None
    assert plan is not None
    monkeypatch.chdir(tmp_path)
    assert render_stages(plan_job(json.loads(job[1]))).strip() == plan[1].strip()
