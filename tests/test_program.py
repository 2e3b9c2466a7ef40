"""Commands in messages, as the shell of the user can call them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minispark import program
from minispark.engines.base import raise_unless_succeeded
from minispark.errors import ErrorInfo, JobFailedError
from minispark.observe.views import JobView
from minispark.scheduler.commands import JobStatus


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the ``bin`` of an environment in the current directory that PATH does not have."""
    folder = tmp_path / "my project" / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("minispark", "python"):
        (folder / name).touch(mode=0o755)
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setenv("PWD", str(Path.cwd()))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(sys, "orig_argv", [str(folder / "python"), "script.py"])
    monkeypatch.setattr(sys, "argv", ["script.py"])
    return folder


def test_the_script_is_called_as_it_was(bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/minispark", "demo"])
    assert program.program() == ".venv/bin/minispark"
    # `make -C` runs in another directory than the shell.
    monkeypatch.setenv("PWD", "/")
    assert program.program() == f"'{bin_dir}/minispark'"


@pytest.mark.parametrize("called", [".venv/bin/minispark", "script.py", "minispark/__main__.py"])
def test_a_name_that_path_finds_is_enough(
    bin_dir: Path, monkeypatch: pytest.MonkeyPatch, called: str
) -> None:
    monkeypatch.setenv("PATH", str(bin_dir))
    monkeypatch.setattr(sys, "argv", [called])
    assert program.program() == "minispark"


def test_the_name_of_another_installation_is_not(
    bin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minispark").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.program() == ".venv/bin/minispark"
    (bin_dir / "minispark").unlink()
    assert program.program() == f"'{bin_dir}/python' -m minispark"
    monkeypatch.setattr(sys, "orig_argv", ["/bin/sh", "-m", "minispark"])
    assert program.program() == "/bin/sh -m minispark"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("minispark worker --port 1", ".venv/bin/minispark worker --port 1"),
        ("next: minispark master, then minispark worker", None),
        ("`minispark jobs` lists them", "`.venv/bin/minispark jobs` lists them"),
        ("/opt/bin/minispark jobs; python -m minispark jobs; the minispark", "="),
        (".venv/bin/minispark worker", "="),
    ],
)
def test_only_commands_are_changed(bin_dir: Path, text: str, shown: str | None) -> None:
    expected = text if shown == "=" else shown
    expected = expected or text.replace("minispark", ".venv/bin/minispark")
    assert program.as_typed(text) == expected
    assert program.as_typed(program.as_typed(text)) == expected


def test_an_exception_names_the_command_of_this_shell(bin_dir: Path) -> None:
    error = ErrorInfo("MS-223", "no worker was there", hint="Start one with: minispark worker")
    view = JobView(
        job_id="job-1",
        name="q",
        status=JobStatus.FAILED,
        progress=0.0,
        submitted_at=0.0,
        error=error,
    )
    with pytest.raises(JobFailedError, match=r"hint: Start one with: \.venv/bin/minispark worker"):
        raise_unless_succeeded(view)


def test_what_a_command_prints_can_be_typed(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "minispark").write_text(
        f"#!{sys.executable}\nfrom minispark.__main__ import main\nmain()\n"
    )
    (tmp_path / "bin" / "minispark").chmod(0o755)
    environment = {**os.environ, "PATH": "/usr/bin:/bin", "PWD": str(tmp_path)}
    ran = subprocess.run(
        ["bin/minispark", "jobs", "--master", "127.0.0.1:9"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 3, ran.stderr
    assert "Start one with: bin/minispark master" in ran.stderr


def test_no_message_is_printed_with_a_command_as_it_stands() -> None:
    """`print_hint`, `print_box`, `as_typed` and the hints of errors write it for the shell."""
    root = Path(program.__file__).parent
    command = re.compile(r"\bminispark [a-z]+")
    found = []
    for path in sorted((root / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            texts = [ast.unparse(argument) for argument in node.args]
            if node.func.attr in ("print", "print_line", "echo", "write") and any(
                command.search(text) and "as_typed" not in text for text in texts
            ):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []
