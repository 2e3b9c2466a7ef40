"""Run a copy of Polars' tests: ``python -m polars_suite PATH/py-polars/tests --mode small``.

``PATH`` may name a folder or a file below ``tests``. Arguments after ``--`` go to pytest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from .expected import MODES

_LEFT_OUT = "not slow and not write_disk and not release and not docs and not hypothesis"
_MARKS = f"{_LEFT_OUT} and not benchmark and not ci_only and not debug"
_TESTS = Path(__file__).parents[1]


def command(arguments: argparse.Namespace, rest: list[str]) -> tuple[list[str], Path]:
    """Return the command of pytest and its working directory."""
    path = arguments.path.resolve()
    tests = next((part for part in (path, *path.parents) if part.name == "tests"), None)
    if tests is None or not path.exists():
        raise SystemExit(f"{arguments.path} is not in a copy of py-polars/tests")
    words = [sys.executable, "-m", "pytest", str(path), "-p", "polars_suite.plugin", "-q"]
    words += ["-p", "no:cacheprovider", "-p", "no:schemathesis", "--import-mode=importlib"]
    # A file of tests may need a library that is not here.
    words.append("--continue-on-collection-errors")
    # Newer versions of pytest deprecate what older tests do.
    words += ["-W", "ignore::pytest.PytestRemovedIn10Warning", "-m", _MARKS]
    words += ["--timeout", str(arguments.timeout), "-o", "timeout_func_only=true"]
    words += ["--suite-mode", arguments.mode, "--suite-shard", arguments.shard]
    if arguments.report is not None:
        words += ["--suite-report", str(arguments.report.resolve())]
    if arguments.only is not None:
        words += ["--suite-only", str(arguments.only.resolve())]
    if arguments.eager:
        words.append("--suite-eager")
    if arguments.table is not None:
        words += ["--suite-table", str(arguments.table.resolve())]
    if arguments.ignore_table:
        words.append("--suite-ignore-table")
    return [*words, *rest], tests.parent


def main(words: list[str]) -> int:
    """Run pytest and return its exit code."""
    parser = argparse.ArgumentParser(prog="polars_suite", description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--mode", choices=MODES, default="default")
    parser.add_argument("--shard", default="0/1", help="I/N runs part I (from 0) of N")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for a test")
    parser.add_argument("--ignore-table", action="store_true", help="expect no failure")
    parser.add_argument("--eager", action="store_true", help="methods of DataFrames too")
    parser.add_argument("--table", type=Path, help="another table of expected failures")
    parser.add_argument("--only", type=Path, help="a file with the ids of the tests to run")
    parser.add_argument("--report", type=Path, help="a JSON file for what happened")
    at = words.index("--") if "--" in words else len(words)
    own, rest = words[:at], words[at + 1 :]
    pytest_command, folder = command(parser.parse_args(own), rest)
    paths = [str(_TESTS), str(folder), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(pytest_command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
