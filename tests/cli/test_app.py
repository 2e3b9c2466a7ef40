"""The command as a whole: help, exit codes, what it imports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from polars.exceptions import PanicException
from typer.testing import CliRunner

from minispark.cli.app import app
from minispark.errors import JobFailedError, MasterUnreachableError, UsageError

from .conftest import Minispark

COMMANDS = [
    "demo",
    "run",
    "submit",
    "ui",
    "status",
    "jobs",
    "workers",
    "results",
    "cancel",
    "metrics",
    "explain",
    "data",
    "master",
    "worker",
    "sql",
    "verify",
    "chaos",
    "predict",
    "replay",
    "report",
    "simulate",
    "doctor",
    "events",
    "rerun",
    "compare",
    "logs",
    "top",
    "token",
]
HEAVY = {
    "fastapi",
    "httpx2",
    "polars",
    "prometheus_client",
    "pyarrow",
    "pydantic",
    "rich",
    "uvicorn",
}


def test_importing_the_command_line_brings_in_nothing_heavy() -> None:
    code = "import json, sys, minispark.cli; print(json.dumps(list(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert HEAVY.isdisjoint(json.loads(out))


def test_asking_for_help_brings_in_nothing_heavy() -> None:
    code = (
        "import sys\nfrom minispark.cli import main\n"
        "try: main(['--help'])\nfinally: print(sorted(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(ran.stderr.replace("'", "").strip("[]\n").split(", "))
    assert "minispark.cli" in imported
    assert HEAVY.isdisjoint(imported)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert f"Usage: minispark {command}" in result.output


def test_help_has_every_command_in_a_section_with_its_whole_sentence() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    _, *sections = re.split(r"^([A-Z][a-z ]+):\n", text, flags=re.M)
    titles, bodies = sections[::2], sections[1::2]
    wanted = ["Run something", "Look at it", "Run a cluster", "Find out why", "Data"]
    assert titles == ["Options", *wanted]
    commands = "".join(bodies[1:])
    assert sorted(re.findall(r"^  ([a-z]+)  ", commands, re.M)) == sorted(COMMANDS)
    assert "..." not in commands
    # The texts of all sections are in one column.
    assert len({len(start) for start in re.findall(r"^  [a-z]+ +", commands, re.M)}) == 1


def test_without_a_command_it_shows_help_and_says_usage(minispark: Minispark) -> None:
    ran = minispark()
    assert ran.returncode == 2
    assert "Usage: minispark" in ran.stdout + ran.stderr


def test_a_mistyped_command_is_a_usage_error_with_the_nearest_name(minispark: Minispark) -> None:
    ran = minispark("sumbit")
    assert ran.returncode == 2
    assert "error[MS-101]" in ran.stderr
    assert "submit" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [("jobs",), ("workers",), ("status", "job-1"), ("cancel", "job-1"), ("results", "job-1")],
)
def test_no_master_is_exit_code_3(minispark: Minispark, arguments: tuple[str, ...]) -> None:
    ran = minispark(*arguments)
    assert ran.returncode == 3
    assert "error[MS-501]" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("arguments", [("status", "--debug", "job-1"), ("--debug", "jobs")])
def test_debug_adds_the_traceback_at_any_place(
    minispark: Minispark, arguments: tuple[str, ...]
) -> None:
    ran = minispark(*arguments)
    assert ran.returncode == 3, "as without --debug"
    assert "Traceback (most recent call last)" in ran.stderr
    assert "MasterUnreachableError" in ran.stderr
    assert "error[MS-501]" in ran.stderr.splitlines()[-2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (UsageError("wrong"), 2),
        (UsageError("no such job", code="MS-140"), 1),
        (JobFailedError("failed"), 1),
        (MasterUnreachableError("away"), 3),
        (RuntimeError("unexpected"), 1),
        (PanicException("a panic"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("debug", [True, False])
def test_debug_changes_no_exit_code(
    minispark: Minispark,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    *,
    debug: bool,
) -> None:
    def fail(_: object) -> NoReturn:
        raise error

    monkeypatch.setattr("minispark.cli.jobs.connect", fail)
    ran = minispark("jobs", *(["--debug"] if debug else []))
    assert ran.returncode == code
    assert ("Traceback" in ran.stderr) == debug
    assert ran.stderr.splitlines()[-1] != ""


def test_the_process_leaves_with_the_exit_code_and_without_a_traceback(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "minispark", "sumbit"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "submit" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "\x1b" not in ran.stdout + ran.stderr


def test_nothing_to_submit_is_a_usage_error(minispark: Minispark) -> None:
    ran = minispark("submit")
    assert ran.returncode == 2
    assert "--input" in ran.stderr


def test_a_script_cannot_be_submitted_yet(minispark: Minispark) -> None:
    ran = minispark("submit", "job.py")
    assert ran.returncode == 2
    assert "error[MS-401]" in ran.stderr


def test_a_job_file_that_is_not_json_names_file_and_row(
    minispark: Minispark, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text('{\n"name": oops}')
    ran = minispark("submit", "job.json")
    assert ran.returncode == 2
    assert "job.json, row 2" in ran.stderr


def test_options_come_from_the_environment_too(minispark: Minispark, tmp_path: Path) -> None:
    ran = minispark("data", "test", MINISPARK_DATA_TEST_LINES="3")
    assert ran.returncode == 0, ran.stderr
    assert len((tmp_path / "data/test.csv").read_text().splitlines()) == 4


def test_there_are_no_colours_off_a_terminal(minispark: Minispark) -> None:
    for arguments in (("sumbit",), ("data", "test")):
        ran = minispark(*arguments)
        assert "\x1b" not in ran.stdout + ran.stderr


def test_debug_keeps_every_frame(minispark: Minispark) -> None:
    query = ("sql", "select 1 as a", "--engine", "http://127.0.0.1:1")
    assert "httpx2" in minispark(*query, "--debug").stderr
