"""Every option of every command has an effect, or is refused: none is accepted and ignored.

The options are read from the parser, so an option without a case fails here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minispark.cli.app import parser
from minispark.client import LocalCluster

from .conftest import Minispark
from .options_cluster import CLUSTER_CASES
from .options_kit import Cases, OptionBench
from .options_local import LOCAL_CASES
from .options_tools import TOOL_CASES

CASES: Cases = {**LOCAL_CASES, **TOOL_CASES, **CLUSTER_CASES}
OF_TYPER = {"install_completion", "show_completion"}
OF_ALL_COMMANDS = {"debug", "version"}
"""`test_app.py` has their cases."""


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def options_of(command: Any) -> set[str]:
    """Return the parameters of a command that are options, without underscores at the end."""
    options = [each for each in command.params if each.param_type_name == "option"]
    return {each.name.rstrip("_") for each in options if each.name != "help"}


def test_each_option_has_a_case() -> None:
    root: Any = parser()
    assert options_of(root) == OF_TYPER | OF_ALL_COMMANDS
    found = {name: options_of(command) for name, command in commands(root)}
    assert {name: set(cases) for name, cases in CASES.items()} == found


@pytest.fixture
def bench(
    minispark: Minispark,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> OptionBench:
    def cluster() -> LocalCluster:
        running: LocalCluster = request.getfixturevalue("small_cluster")
        return running

    return OptionBench(tmp_path, minispark, monkeypatch, cluster)


def _pairs(cases: Cases) -> list[tuple[str, str]]:
    return [(command, option) for command, options in cases.items() for option in options]


@pytest.mark.parametrize(("command", "option"), _pairs({**LOCAL_CASES, **TOOL_CASES}))
def test_an_option_has_an_effect(bench: OptionBench, command: str, option: str) -> None:
    CASES[command][option](bench)


@pytest.mark.process
@pytest.mark.parametrize(("command", "option"), _pairs(CLUSTER_CASES))
def test_an_option_has_an_effect_on_a_cluster(
    bench: OptionBench, command: str, option: str
) -> None:
    CASES[command][option](bench)
