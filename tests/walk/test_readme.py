"""The commands of README.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.walk.pages import Because, Walk, block_of
from tests.walk.shell import Shell
from tests.walk.steps import (
    asks_docker,
    makes,
    opens_the_page,
    runs_the_demo,
    runs_the_suite,
    says,
    serves,
    submits,
)

pytestmark = [pytest.mark.walk, pytest.mark.process, pytest.mark.timeout(900)]

WORKER = r"URL +http://127\.0\.0\.1:\d+"


def installs(shell: Shell, line: str) -> None:
    """In an environment of its own: the command is there."""
    venv = shell.directory / "installed"
    shell.run(f"python3 -m venv {venv} && {venv}/bin/{line} && {venv}/bin/minispark --help")


WALK = Walk(
    "README.md",
    {
        "make demo": runs_the_demo,
        "make test": runs_the_suite,
        "pip install .": installs,
        "minispark master": serves("master", r"URL +http://127\.0\.0\.1:\d+", r"[tT]oken.*/token"),
        "minispark worker --port 9000": serves("worker-1", WORKER),
        "minispark worker --port 9001": serves("worker-2", WORKER),
        "minispark data 1m": makes("data/benchmark_1m.csv", rows=1_000_000),
        "minispark submit --input data/benchmark_1m.csv --parallelism 6": submits,
        "minispark ui": opens_the_page,
        "minispark verify ID": says(r"gave the same result again", r"\bequal\b"),
        "minispark predict ID --workers 8": says(r"on 8 workers", r"predicted"),
        "minispark events": says(r"registered: 2 slots", r"SUCCEEDED after"),
        "minispark logs": says(r"worker"),
        "make docker-demo": asks_docker("compose up -d"),
        "make help": says(r"make demo\b", r"make docker-demo\b"),
        "minispark explain job.json": says(r"\bread\b", r"\bagg\b", r"[sS]tage"),
        "minispark submit job.json": submits,
        "minispark results ID": says(r"^token,count\n", r"\nthe,\d+"),
        "make walk": Because("it is this walk"),
        "make bench": Because("it measures for minutes, and its figures depend on the machine"),
        "minispark run wordcount data/benchmark_1m.csv": says(r"\bkup\b.*1,?145,?282"),
        "minispark --help": says(r"\bsubmit\b", r"\breplay\b"),
    },
)


@pytest.fixture(scope="module", autouse=True)
def job_file(shell: Shell) -> Iterator[None]:
    """The page's JSON job, in a file; and more data sets than the page needs."""
    file = shell.root / "job.json"
    file.write_text(block_of("README.md", "json"))
    yield
    file.unlink()


@pytest.mark.parametrize("line", WALK.lines)
def test_line(shell: Shell, line: str) -> None:
    if line == "minispark explain job.json":
        shell.run("minispark data join")  # Files of other columns in data/.
    WALK.take(shell, line)


def test_python(shell: Shell) -> None:
    script = shell.directory / "ten_lines.py"
    script.write_text(block_of("README.md", "python"))
    assert "1145282" in shell.run(f"python {script}")
