"""Settings of the whole suite, and the watch over every master that it starts."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from tests.security import watch

# Hundreds of processes start here: they must not compile the same code again each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Machines are noisy and shared: how long an example takes says nothing about the code.
settings.register_profile(
    "mini-spark",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("mini-spark")


def is_controller(config: pytest.Config) -> bool:
    """Whether this process gives out the tests, or runs them all by itself."""
    return not hasattr(config, "workerinput")


def leave_home() -> None:
    """Keep what this user has of Mini-Spark, a running master for one, out of every test."""
    for name in list(os.environ):
        if name.startswith("MINISPARK_") and not name.startswith("MINISPARK_TEST_"):
            del os.environ[name]
    os.environ.pop("MASTER_URL", None)
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="minispark-state-")


def pytest_configure(config: pytest.Config) -> None:
    if is_controller(config):
        leave_home()
        os.environ[watch.FOLDER] = tempfile.mkdtemp(prefix="minispark-watch-")
    watch.redirect_masters()
    watch.watch(watch.in_master)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if is_controller(session.config) and watch.seen():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for violation in watch.seen():
        terminalreporter.section("a master ran what it must not run", red=True)
        terminalreporter.write_line(violation)
    terminalreporter.write_line(f"{len(watch.watched())} masters watched")


def pytest_unconfigure(config: pytest.Config) -> None:
    if is_controller(config):
        shutil.rmtree(watch.folder(), ignore_errors=True)
        shutil.rmtree(os.environ["XDG_STATE_HOME"], ignore_errors=True)
