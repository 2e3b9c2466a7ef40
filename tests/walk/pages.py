"""The commands of a page, and what a walk does with each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.walk.shell import Shell

ROOT = Path(__file__).parents[2]
PROGRAMS = r"(?:export|minispark|make|pip|python3?|curl|docker|docker-compose)"
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
_SPAN = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(rf"(?:\w+=\S+ )*{PROGRAMS} \S")

Step = Callable[[Shell, str], None]
"""Runs a command of a page, and compares what came with what the page promises."""


@dataclass(frozen=True, slots=True)
class Because:
    """Why a command is not walked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Walk:
    """A page with a step for each of its commands, in the order in which they are run."""

    page: str
    steps: Mapping[str, Step | Because]

    @property
    def lines(self) -> list[str]:
        """The commands that are walked."""
        return [line for line, step in self.steps.items() if not isinstance(step, Because)]

    def take(self, shell: Shell, line: str) -> None:
        """Walk one command."""
        step = self.steps[line]
        assert not isinstance(step, Because)
        step(shell, line)


def commands_of(text: str) -> list[str]:
    """Return the commands of a page in its order, each once.

    They are the lines of its blocks of shell commands, without comments, and what its sentences
    quote as a program with arguments.
    """
    commands: list[str] = []
    end = 0
    for block in _BLOCK.finditer(text):
        commands += _quoted(text[end : block.start()])
        if block[1] in ("sh", "bash", "console"):
            commands += block_lines(block[2])
        end = block.end()
    return list(dict.fromkeys([*commands, *_quoted(text[end:])]))


def block_lines(body: str) -> list[str]:
    """Return the commands of one block of shell commands."""
    lines = (re.split(r"(?:^|\s)#\s", line)[0] for line in body.replace("\\\n", " ").splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def block_of(page: str, language: str) -> str:
    """Return the only block of a page in some language."""
    (body,) = (body for name, body in _BLOCK.findall((ROOT / page).read_text()) if name == language)
    return str(body)


def _quoted(text: str) -> list[str]:
    spans = (" ".join(span.split()) for span in _SPAN.findall(text))
    return [span for span in spans if _COMMAND.match(span)]
