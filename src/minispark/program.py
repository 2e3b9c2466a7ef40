"""How the shell that started this process can call ``minispark``.

Messages write commands as ``minispark worker``. That is "command not found" in a shell whose PATH
does not have the environment of this process. Whatever prints a message for people passes it
through `as_typed`, which writes the commands in it as this shell can call them.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

_NAME = "minispark"
_COMMAND = re.compile(rf"(?<![\w./-])(?<!-m ){_NAME}(?= [a-z])")


def as_typed(text: str) -> str:
    """Return a message with the commands in it as the user's shell can call them.

    Examples
    --------
    >>> as_typed("Start one with: minispark worker") # doctest: +SKIP
    'Start one with: .venv/bin/minispark worker'
    """
    # Most messages name no command, and the search of PATH takes time.
    return _COMMAND.sub(lambda _: program(), text) if _NAME in text else text


def program() -> str:
    """Return the shortest call of ``minispark`` that runs this same installation."""
    called = Path(sys.argv[0])
    ours = called if called.name == _NAME else Path(sys.executable).with_name(_NAME)
    found = shutil.which(_NAME)
    if found is not None and _same(Path(found), ours):
        return _NAME
    if ours.exists():
        return shlex.quote(_from_shell(ours))
    # The interpreter as the shell was given it, such as `python3`.
    typed = sys.orig_argv[0]
    return f"{shlex.quote(typed if shutil.which(typed) else sys.executable)} -m {_NAME}"


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _from_shell(path: Path) -> str:
    """Return a path as the shell of the user needs it: relative only where the shell is too."""
    here = Path.cwd()
    # `make -C` and `cd` in a script change the directory of this process, not that of the shell.
    shell = os.environ.get("PWD")
    if shell is None or not _same(Path(shell), here):
        return str(path.absolute())
    absolute = path.absolute()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
