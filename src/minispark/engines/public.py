"""The functions that users call: their errors come without the frames below them.

The frames of Polars, which stands between a user's call and ours, can only be left out where an
error is printed: IPython asks the exception (`minispark.tracebacks`), a script prints it by
`sys.excepthook`. With ``MINISPARK_DEBUG`` all frames stay.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

from polars.exceptions import PolarsError

from minispark.errors import MinisparkError
from minispark.tracebacks import all_frames, foreign_frames, interrupt, is_short, user_frames

_DEBUG = "MINISPARK_DEBUG"

_P = ParamSpec("_P")
_T = TypeVar("_T")


def public(call: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return ``call`` whose errors with a code, interrupts and Polars' errors lack our frames.

    Other exceptions keep their frames: they are faults of ours, or of what we call.
    """

    @wraps(call)
    def called(*arguments: _P.args, **options: _P.kwargs) -> _T:
        __tracebackhide__ = True  # pytest leaves this frame out
        handled = sys.exception()
        try:
            return call(*arguments, **options)
        except (MinisparkError, KeyboardInterrupt) as caught:
            if all_frames.get() or os.environ.get(_DEBUG):
                raise
            error = caught if is_short(caught) else interrupt()
        except PolarsError as caught:
            if not (all_frames.get() or os.environ.get(_DEBUG)):
                caught.__traceback__ = foreign_frames(caught.__traceback__)
            raise
        _print_short()
        raise _shortened(error, handled)

    return called


def _shortened(error: BaseException, handled: BaseException | None) -> BaseException:
    """Return an error without frames and causes; its context is what the user handles."""
    error.__cause__ = None
    error.__context__ = handled
    error.__suppress_context__ = handled is None
    return error.with_traceback(None)


def _print_short() -> None:
    """Let Python print the user's frames only; a hook that a program has set stays."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print_exception


def _print_exception(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if is_short(error):
        traceback = user_frames(traceback)
        error.__traceback__ = traceback
    sys.__excepthook__(kind, error, traceback)
