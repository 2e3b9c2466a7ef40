"""The table of expected failures has a form, and the table of the repository has that form."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.polars_suite.expected import ExpectedGroup, read_table, reasons

_MOST = 60
"""More entries would hide what the engine cannot do."""


def table(path: Path, *groups: str) -> Path:
    path.write_text("\n".join(f"[[group]]\n{group}" for group in groups))
    return path


def test_the_table_of_the_repository() -> None:
    assert sum(len(group.tests) for group in read_table()) <= _MOST


def test_groups_say_why_and_where(tmp_path: Path) -> None:
    both = 'reason = "r"\ntests = ["a.py::t"]'
    one = 'reason = "s"\nmodes = ["small"]\ntests = ["b.py::t[x]"]'
    groups = read_table(table(tmp_path / "t.toml", both, one))
    assert groups == (
        ExpectedGroup("r", ("default", "small"), ("a.py::t",)),
        ExpectedGroup("s", ("small",), ("b.py::t[x]",)),
    )
    assert reasons(groups, "default") == {"a.py::t": "r"}
    assert reasons(groups, "small") == {"a.py::t": "r", "b.py::t[x]": "s"}


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        (['reason = " "\ntests = ["a::t"]'], "no reason"),
        (['reason = "r"\ntests = []'], "no test"),
        (['reason = "r"\nmodes = ["large"]\ntests = ["a::t"]'], "unknown"),
        (['reason = "r"\ntests = ["a.py"]'], "not the id"),
        (['reason = "r"\ntests = ["a::t", "a::t"]'], "twice"),
        (['reason = "r"\ntests = ["a::t", "a::t[x]"]'], "twice"),
        (['reason = "r"\ntests = ["a::t"]', 'reason = "r"\ntests = ["b::t"]'], "two groups"),
    ],
)
def test_faults(tmp_path: Path, entries: list[str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_table(table(tmp_path / "t.toml", *entries))
