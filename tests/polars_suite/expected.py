"""The table of tests that are expected to fail: `expected.toml`, groups of test ids by reason."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Mode = Literal["default", "small"]
MODES: tuple[Mode, ...] = get_args(Mode)
TABLE = Path(__file__).with_name("expected.toml")


@dataclass(frozen=True, slots=True)
class ExpectedGroup:
    """Tests that fail for one reason, in some modes.

    An id ends with the name of a test function, and so names all its parameters, or with one set
    of parameters in brackets.
    """

    reason: str
    modes: tuple[Mode, ...]
    tests: tuple[str, ...]


def read_table(path: Path = TABLE) -> tuple[ExpectedGroup, ...]:
    """Return the groups of the table.

    Raises
    ------
    ValueError
        A reason is empty, a mode is unknown, or an id stands twice in the table.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("group", [])
    groups = tuple(
        ExpectedGroup(
            entry["reason"].strip(), tuple(entry.get("modes", MODES)), tuple(entry["tests"])
        )
        for entry in entries
    )
    faults = list(_faults(groups))
    if faults:
        raise ValueError("; ".join(faults))
    return groups


def _faults(groups: tuple[ExpectedGroup, ...]) -> Iterator[str]:
    seen: set[str] = set()
    reasons: set[str] = set()
    for group in groups:
        if not group.reason:
            yield f"the group of {group.tests[:1]} has no reason"
        if group.reason in reasons:
            yield f"two groups have the reason {group.reason!r}"
        reasons.add(group.reason)
        if not group.tests:
            yield f"the group {group.reason!r} has no test"
        yield from (f"the mode {mode!r} is unknown" for mode in group.modes if mode not in MODES)
        for test in group.tests:
            if "::" not in test:
                yield f"{test!r} is not the id of a test"
            if test in seen or function_of(test) in seen - {test}:
                yield f"{test!r} is in the table twice"
            seen.add(test)


def function_of(test: str) -> str:
    """Return the id of a test without its parameters."""
    return test.partition("[")[0]


def reasons(groups: tuple[ExpectedGroup, ...], mode: Mode) -> dict[str, str]:
    """Return the reason of each id that is expected to fail in a mode."""
    return {test: group.reason for group in groups if mode in group.modes for test in group.tests}
