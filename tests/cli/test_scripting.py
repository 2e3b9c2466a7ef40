"""What scripts and shells lean on: JSON from every command that prints data, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minispark.cli.app import app

from .conftest import Minispark
from .test_app import COMMANDS

# They run until a signal, only draw, write a file, or print one word.
WITHOUT_JSON = {"bench", "demo", "master", "report", "token", "ui", "worker"}
GROUPS = {
    "run": ("wordcount", "join"),
    "data": ("test", "large", "1m", "join"),
    "metrics": ("system", "jobs", "failures", "job", "worker"),
}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in WITHOUT_JSON])
def test_every_command_that_prints_data_takes_json(command: str) -> None:
    for part in GROUPS.get(command, (None,)):
        words = [command] if part is None else [command, part]
        assert "--json" in CliRunner().invoke(app, [*words, "--help"]).output, words


def test_made_data_and_a_run_as_json(minispark: Minispark, tmp_path: Path) -> None:
    (made,) = json.loads(minispark("data", "test", "--output", "words.csv", "--json").stdout)
    assert made == {"path": "words.csv", "bytes": (tmp_path / "words.csv").stat().st_size}
    ran = minispark("run", "wordcount", "words.csv", "--top", "3", "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    words = (tmp_path / "words.csv").read_text().split()[1:]
    counts = {word: words.count(word) for word in words}
    assert found["rows_in_all"] == len(counts)
    assert [row["value"] for row in found["rows"]] == sorted(counts.values(), reverse=True)[:3]
    assert all(counts[row["key"]] == row["value"] for row in found["rows"])
    assert found["metrics"]["input_records"] == 10


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("minispark do", {"doctor"}),
        ("minispark metrics ", {"system", "jobs", "failures", "job", "worker"}),
        ("minispark metrics system --js", {"--json"}),
    ],
)
def test_a_shell_completes_commands_and_options(line: str, wanted: set[str]) -> None:
    words = line.split(" ")
    asked = {
        "_MINISPARK_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "minispark"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(ran.stdout.split()) == wanted, ran.stderr


def test_the_script_that_a_shell_loads() -> None:
    # With an `exit` of its own the shell stays, and is found as the one that asks.
    asked = f"{sys.executable} -m minispark --show-completion; exit $?"
    ran = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "_MINISPARK_COMPLETE=complete_bash" in ran.stdout
