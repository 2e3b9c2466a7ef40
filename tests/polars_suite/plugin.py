"""A pytest plugin: runs each test with the engine behind Polars, and a failed one without it too.

A test that fails without the engine says nothing about the engine and counts as skipped.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from _pytest.runner import runtestprotocol

import minispark as ms

from .expected import TABLE, Mode, function_of, read_table, reasons
from .routing import Routing, never_busy
from .small import SmallPartitions

_TEXT_CHARS = 6_000


@dataclass(frozen=True, slots=True)
class Failed:
    """A test that fails with the engine and passes without."""

    test: str
    text: str


@dataclass(slots=True)
class Tally:
    """What the tests of a run did, by the id of the test."""

    used: list[str] = field(default_factory=list)
    """Tests that ran a query on the engine."""
    failed: list[Failed] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    """Tests that fail without the engine too."""
    passed: int = 0
    skipped: int = 0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("polars suite")
    group.addoption("--suite-mode", choices=("default", "small"), default="default")
    group.addoption("--suite-shard", default="0/1", help="I/N runs part I (from 0) of N")
    group.addoption("--suite-table", default=str(TABLE), help="the table of expected failures")
    group.addoption("--suite-ignore-table", action="store_true")
    group.addoption("--suite-eager", action="store_true")
    group.addoption("--suite-only", help="a file of test ids: run no others")
    group.addoption("--suite-report", help="write what happened to this file, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Suite(config), "polars-suite")


class Suite:
    """Runs the tests of a session in one mode."""

    def __init__(self, config: pytest.Config) -> None:
        self._mode: Mode = config.getoption("--suite-mode")
        eager = config.getoption("--suite-eager")
        self._small = SmallPartitions() if self._mode == "small" else None
        if self._small is not None:
            self._small.install()
            self._routing = Routing(self._small.engine, busy=self._small.busy, eager=eager)
        else:
            engine = ms.Engine(progress=False)
            self._routing = Routing(lambda: engine, busy=never_busy, eager=eager)
        self._routing.install()
        table = read_table(Path(config.getoption("--suite-table")))
        ignored = config.getoption("--suite-ignore-table")
        self._reasons = {} if ignored else reasons(table, self._mode)
        self._tally = Tally()
        self._ran: dict[str, bool] = {}
        """Ids of the table that ran, and whether a test of it failed."""

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep the tests of the shard; the parameters of a function stay together."""
        index, count = map(int, config.getoption("--suite-shard").split("/"))
        listed = config.getoption("--suite-only")
        only = set(Path(listed).read_text().split("\n")) if listed else None
        kept: list[pytest.Item] = []
        left: list[pytest.Item] = []
        for item in items:
            name = function_of(item.nodeid)
            mine = zlib.crc32(name.encode()) % count == index
            chosen = only is None or item.nodeid in only
            (kept if mine and chosen else left).append(item)
        config.hook.pytest_deselected(items=left)
        items[:] = kept

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test, and if it fails, once more without the engine."""
        if not self._routing.installed:
            pytest.exit(f"{item.nodeid}: the engine is not behind Polars any more", returncode=3)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if self._small is not None:
            self._small.broadcast = zlib.crc32(item.nodeid.encode()) % 2 == 1
        before = self._routing.queries
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if self._routing.queries > before:
            self._tally.used.append(item.nodeid)
        self._count(item, reports, nextitem)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _count(
        self,
        item: pytest.Item,
        reports: Sequence[pytest.TestReport],
        nextitem: pytest.Item | None,
    ) -> None:
        name = self._entry(item.nodeid)
        failed = [report for report in reports if report.failed]
        if not failed:
            skipped = any(report.skipped for report in reports)
            self._tally.skipped += skipped
            self._tally.passed += not skipped
            if name is not None and not skipped:
                self._ran.setdefault(name, False)
            return
        if self._small is not None and "Timeout" in failed[0].longreprtext:
            self._small.restart()
        if self._fails_plain(item, nextitem):
            self._tally.plain.append(item.nodeid)
            _skip(failed, "fails with plain Polars too")
        elif name is not None:
            self._ran[name] = True
            self._tally.expected.append(item.nodeid)
            _skip(failed, self._reasons[name], xfail=True)
        else:
            text = failed[0].longreprtext[-_TEXT_CHARS:]
            self._tally.failed.append(Failed(item.nodeid, text))

    def _entry(self, test: str) -> str | None:
        """Return the id in the table that names a test."""
        names = (name for name in (test, function_of(test)) if name in self._reasons)
        return next(names, None)

    def _fails_plain(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        self._routing.on = False
        try:
            again = runtestprotocol(item, log=False, nextitem=nextitem)
        finally:
            self._routing.on = True
        return any(report.failed for report in again)

    @property
    def _now_pass(self) -> list[str]:
        return [name for name, failed in self._ran.items() if not failed]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail if nothing ran on the engine, or if the table is out of date."""
        report = session.config.getoption("--suite-report")
        if report:
            told: dict[str, Any] = {"polars": pl.__version__, "mode": self._mode}
            told |= asdict(self._tally) | {"now_pass": self._now_pass}
            Path(report).write_text(json.dumps(told, indent=1), encoding="utf-8")
        proof = self._tally.used and not self._now_pass
        if session.exitstatus == pytest.ExitCode.OK and not proof:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what ran where, and what the table gets wrong."""
        tally, write = self._tally, terminalreporter.write_line
        write(f"mode {self._mode}, Polars {pl.__version__}, {self._routing.queries} queries")
        write(f"{len(tally.used)} tests ran a query on the engine")
        write(f"{len(tally.plain)} tests fail with plain Polars too")
        write(f"{len(tally.expected)} tests failed as expected, {len(tally.failed)} others failed")
        for name in self._now_pass:
            write(f"passes now, remove it from the table: {name}")
        if not tally.used:
            write("no query reached the engine: the run proves nothing")


def _skip(reports: Sequence[pytest.TestReport], reason: str, *, xfail: bool = False) -> None:
    for report in reports:
        report.outcome = "skipped"
        if xfail:
            report.wasxfail = reason
        else:
            report.longrepr = (str(report.fspath), report.location[1] or 0, reason)
