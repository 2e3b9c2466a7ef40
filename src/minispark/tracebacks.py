"""Tracebacks with the user's own calls only.

A query passes through Polars, this package and its HTTP client. The frames of these tell a user
nothing about an error that has a code and a sentence, so IPython (notebooks too) does not print
them. `minispark.engines.public` does the same for a script.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from types import TracebackType

_OURS = __file__.rpartition("/")[0] + "/"
all_frames: ContextVar[bool] = ContextVar("all_frames", default=False)
"""Whether errors keep every frame, as the command line's ``--debug`` wants it."""
_RENDER = "_render_traceback_"
"""IPython calls an attribute of this name."""


def ipython_lines(error: BaseException) -> list[str]:
    """Return what IPython prints for ``error``, whose ``_render_traceback_`` it calls."""
    printer = sys.modules["IPython"].get_ipython().InteractiveTB
    frames = user_frames(error.__traceback__)
    if frames is None:
        return list(printer.get_exception_only(type(error), error))
    return list(printer.structured_traceback(type(error), error, frames, tb_offset=0))


def interrupt(message: str = "", *, job_url: str | None = None) -> KeyboardInterrupt:
    """Return an interrupt with a message, printed with the user's frames only.

    ``job_url`` is the page of the job that was waited for. The class is KeyboardInterrupt itself,
    since a process that a subclass ends has another exit code.
    """
    text = message if job_url is None else f"{message}\nsee {job_url}"
    error = KeyboardInterrupt(text) if text else KeyboardInterrupt()
    error.__dict__.update({_RENDER: partial(ipython_lines, error), "job_url": job_url})
    return error


def is_short(error: BaseException) -> bool:
    """Whether an exception is printed with the user's frames only."""
    return hasattr(error, _RENDER)


def user_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Return the frames before the first one of this package; Polars' and IPython's are left out.

    None if no frame is left.
    """
    frames = itertools.takewhile(lambda frame: not _file(frame).startswith(_OURS), _all(traceback))
    return _without(tuple(map(_folder, ("polars", "IPython", "ipykernel"))), frames)


def foreign_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Return the frames that are neither of this package nor of Polars, None if none is left."""
    return _without((_OURS, _folder("polars")), _all(traceback))


def _all(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _without(folders: tuple[str, ...], frames: Iterable[TracebackType]) -> TracebackType | None:
    chain: TracebackType | None = None
    for frame in reversed([frame for frame in frames if not _file(frame).startswith(folders)]):
        chain = TracebackType(chain, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return chain


def _file(traceback: TracebackType) -> str:
    return traceback.tb_frame.f_code.co_filename


def _folder(package: str) -> str:
    """Return the folder of a package; if it is not loaded, something that is no file's begin."""
    file = getattr(sys.modules.get(package), "__file__", None)
    return f"{file.rpartition('/')[0]}/" if file else "\0"
