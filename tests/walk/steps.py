"""What a walk does with a command: run it, look at what came."""

from __future__ import annotations

import os
import re
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

from tests.walk.pages import Step
from tests.walk.shell import Shell, calls_of, recorder

REAL_DOCKER = os.environ.get("MINISPARK_TEST_DOCKER") == "1"


def says(*patterns: str, code: int = 0) -> Step:
    """Run a command, which prints all of this on standard output or standard error."""

    def step(shell: Shell, line: str) -> None:
        printed = shell.run(f"{{ {line}; }} 2>&1", code=code)
        for pattern in patterns:
            assert re.search(pattern, printed), f"{line} does not print {pattern}\n{printed}"

    return step


def serves(name: str, *patterns: str) -> Step:
    """Start a command that goes on, and wait until it has printed all of this."""

    def step(shell: Shell, line: str) -> None:
        shell.start(line, name)
        for pattern in patterns:
            shell.wait_for_text(name, pattern)

    return step


def makes(file: str, *, rows: int) -> Step:
    """Run a command that writes a file of ``rows`` rows and a header."""

    def step(shell: Shell, line: str) -> None:
        (shell.root / file).unlink(missing_ok=True)
        shell.run(line)
        with (shell.root / file).open("rb") as made:
            assert sum(1 for _ in made) == rows + 1

    return step


def submits(shell: Shell, line: str) -> None:
    """Submit a job: its id is printed, and it succeeds."""
    shell.job = shell.run(line).strip()
    assert re.fullmatch(r"job-[0-9a-f]+-\d+-\d+", shell.job)
    assert "SUCCEEDED" in shell.run("minispark status --watch ID")


def opens_the_page(shell: Shell, line: str) -> None:
    """Open a link in a browser, here a program that keeps it: it logs in, once."""
    browser = shell.directory / "browser"
    recorder(browser, fails_at="nothing")
    shell.run(line, environment={"BROWSER": f"{browser} %s"})
    (call,) = calls_of(browser)
    jar = urllib.request.HTTPCookieProcessor(CookieJar())
    with urllib.request.build_opener(jar).open(call.strip()) as answer:
        assert "Log out" in answer.read().decode()


def runs_the_demo(shell: Shell, line: str) -> None:
    """In a shell that does not find ``minispark``, which can call the next command as printed."""
    entries = [e for e in os.environ["PATH"].split(":") if not (Path(e) / "minispark").exists()]
    path = {"PATH": ":".join(entries)}
    printed = shell.run(f"{{ {line}; }} 2>&1", environment=path)
    for pattern in (
        r"\b1,000,000 lines",
        r"embedded engine",
        r"cluster, master \+ 2 workers",
        r"All three gave the same result",
    ):
        assert re.search(pattern, printed), f"{line} does not print {pattern}\n{printed}"
    following = re.search(r"next: (\S*minispark) master", printed)
    assert following, printed
    shell.run(f"{following[1]} master --help", environment=path)


def runs_the_suite(shell: Shell, line: str) -> None:
    """With a Python that notes what it is asked, or the suite would run itself."""
    venv = shell.directory / "venv"
    for fails_at, code in (("nothing", 0), ("pytest", 2)):
        recorder(venv / "bin" / "python", fails_at=fails_at)
        (venv / ".development").touch()
        shell.run(f"{line} VENV={venv}", code=code)
    calls = calls_of(venv / "bin" / "python")
    assert len(calls) == 2
    assert all(call.startswith(" -m pytest -n ") for call in calls)


def asks_docker(first: str, *patterns: str) -> Step:
    """Run a target of Docker for real where that is asked for, or up to what it has Docker do."""
    return says(*patterns) if REAL_DOCKER else stops_at_docker(first)


def stops_at_docker(first: str) -> Step:
    """Run a target up to the first thing that it has Docker do: the project, if it names one.

    That fails here, and so must the target.
    """

    def step(shell: Shell, line: str) -> None:
        docker = shell.directory / re.sub(r"\W+", "-", line) / "docker"
        recorder(docker, fails_at=first.partition("compose ")[2])
        path = f"{docker.parent}:{shell.environment['PATH']}"
        shell.run(line, code=2, environment={"PATH": path})
        calls = [call.strip() for call in calls_of(docker)]
        checks = re.compile(r"(\S+ )?(info|compose version)")
        assert next(call for call in calls if not checks.fullmatch(call)) == first

    return step
