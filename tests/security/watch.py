"""Watches every master that the suite starts: one that serves must run nobody's code.

An audit hook (`sys.addaudithook`) in the master sees each unpickled name, each text or code object
that is run, each process that is begun, whoever asks for it. What it sees is written to a file,
and the session fails (`tests/conftest.py`).

::

    python -m minispark master ...      started by a test, becomes
    python tests/security/watch.py master ...

    a master in the process of a test   watched there: whatever has the master's code below it

Allowed: importing modules that are installed, the child that plans JSON jobs, what the standard
library parses, without running it, to point at the line of a traceback, what FastAPI and pydantic
make of the annotations of our own routes and models when each is first asked for, and an annotation
of Rich's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

FOLDER = "TESTS_WATCH_FOLDER"
EVENTS = frozenset(
    {
        *("pickle.find_class", "exec", "compile", "code.__new__", "function.__new__"),
        *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn"),
        *("os.spawn", "pty.spawn", "ctypes.dlopen", "os.startfile"),
    }
)
ALLOWED = (
    ("any", "<frozen importlib._bootstrap>", "_load_unlocked"),
    ("subprocess.Popen", "/minispark/master/jobs/planner.py", "_start_child"),
    ("compile", traceback.__file__, "any"),
    ("any", "/fastapi/routing.py", "_populate_api_route_state"),
    ("any", "/pydantic/_internal/_typing_extra.py", "eval_type"),
    ("compile", "/rich/text.py", "join"),
)
"""Event, file and function, wherever in the stack."""
_MASTER = "/minispark/master/"


def folder() -> Path:
    """Return where violations are written."""
    return Path(os.environ[FOLDER])


def seen() -> list[str]:
    """Return what masters did that they must not do."""
    return [file.read_text() for file in sorted(folder().glob("violation-*"))]


def watched() -> set[int]:
    """Return the process ids of masters that served under watch."""
    return {int(file.name.partition("-")[2]) for file in folder().glob("master-*")}


def watch(serves: Callable[[FrameType | None], bool]) -> None:
    """Watch this process, for good; ``serves(frame)`` says whether what runs is a master."""
    # A process that ends forgets the names of its modules first.
    where, events = folder(), EVENTS

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in events:
            return
        frame = sys._getframe(1)
        if not serves(frame) or _allowed(event, arguments, frame):
            return
        stack = "".join(traceback.format_stack(frame)[-12:])
        with (where / f"violation-{os.getpid()}").open("a") as file:
            file.write(f"! {event} {str(arguments)[:500]}\n{stack}\n")

    sys.addaudithook(hook)


def _allowed(event: str, arguments: tuple[Any, ...], frame: FrameType | None) -> bool:
    if event == "subprocess.Popen" and arguments[0] != sys.executable:
        return False
    while frame is not None:
        code = frame.f_code
        for allowed, file, function in ALLOWED:
            if (
                allowed in (event, "any")
                and code.co_filename.endswith(file)
                and function in (code.co_name, "any")
            ):
                return True
        frame = frame.f_back
    return False


def in_master(frame: FrameType | None) -> bool:
    """Whether code of the master is at work here, but that which builds it."""
    found = False
    while frame is not None:
        found = found or _MASTER in frame.f_code.co_filename
        if frame.f_code.co_name == "create_app":
            return False
        frame = frame.f_back
    return found


def redirect_masters() -> None:
    """Let processes of ours that are, or start, masters begin in this file."""
    original = subprocess.Popen.__init__

    def begin(self: Any, args: Any, *rest: Any, **options: Any) -> None:
        ours = isinstance(args, list | tuple) and list(args[:3]) == [
            *(sys.executable, "-m", "minispark")
        ]
        if ours and FOLDER in os.environ and args[3:4] != ["worker"]:
            args = [sys.executable, __file__, *args[3:]]
            if options.get("env") is not None:
                options["env"] = {**options["env"], FOLDER: os.environ[FOLDER]}
        original(self, args, *rest, **options)

    subprocess.Popen.__init__ = begin  # type: ignore[method-assign]  # for this process


def _watch_this_master() -> None:
    """From the moment when it says where it is to be found; what comes before is its start."""
    serving = False

    def starts(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal serving
        if event == "os.rename" and str(arguments[1]).endswith("master.json"):
            serving = True
            (folder() / f"master-{os.getpid()}").touch()

    sys.addaudithook(starts)
    watch(lambda _frame: serving)


def main() -> None:
    """Do what ``python -m minispark`` does."""
    sys.path[0] = str(Path.cwd())
    redirect_masters()
    if sys.argv[1:2] == ["master"]:
        _watch_this_master()
    from minispark.__main__ import main as command

    command()


if __name__ == "__main__":
    main()
