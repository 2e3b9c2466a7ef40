"""The commands of the operations page, against a running cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.walk.pages import Because, Walk
from tests.walk.shell import Shell
from tests.walk.steps import says, submits

pytestmark = [pytest.mark.walk, pytest.mark.process, pytest.mark.timeout(900)]


def derives_tokens(shell: Shell, line: str) -> None:
    """Each alternative that the page names."""
    command, levels = line.rsplit(" ", 1)
    for level in re.split(r"\\?\|", levels):
        assert shell.run(f"{command} {level}").startswith(f"minispark-{level}-")


WALK = Walk(
    "docs/operations.md",
    {
        r"minispark token view\|submit\|worker": derives_tokens,
        "make run-worker": Because("the walk of README.es.md runs it with these variables"),
        "minispark doctor": says(r"Python", r"Polars"),
        "make build": Because("the walk of README.es.md begins with it"),
        "python bench/throughput.py": Because("it measures; the page says on what machine"),
        "minispark metrics failures": says(r"fetch failed +\d"),
        "minispark status ID": says(r"job-\w+", r"SUCCEEDED"),
        "minispark workers": says(r"\bUP\b"),
    },
)


@pytest.fixture(scope="module", autouse=True)
def cluster(shell: Shell) -> Iterator[None]:
    shell.run("make build")
    shell.start("minispark master", "master")
    shell.wait_for_text("master", "URL")
    shell.start("minispark worker --port 9000", "worker")
    shell.wait_for_workers(1)
    shell.run("minispark data test")
    submits(shell, "minispark submit --input data/test.csv")
    yield


@pytest.mark.parametrize("line", WALK.lines)
def test_line(shell: Shell, line: str) -> None:
    WALK.take(shell, line)
