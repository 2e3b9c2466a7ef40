"""Errors and failures as types.

Exceptions are for the caller of an API. Failures are values that an executor sends to the
scheduler, also over the network. Code never matches either by its text.

::

    MinisparkError            code, message, hint and where it is
    ├── UsageError            MS-1xx  bad input, found before anything runs
    ├── JobFailedError        MS-2xx  a job ended FAILED
    ├── JobCancelledError     MS-3xx  a job was cancelled
    ├── UnsupportedError      MS-4xx  a part of a public interface that does not exist yet
    └── MasterUnreachableError MS-5xx  no master answers

An error that another exception caused (one of Polars, a builtin) is also an instance of the class
of that exception: `MinisparkError.from_info` makes the class from the name in the error. Exceptions
themselves are never sent.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self, cast

from minispark.bounds import Count, Id, Items, Path, Seconds, Text
from minispark.ids import TaskKey
from minispark.tracebacks import ipython_lines

_POLARS = "polars.exceptions"
_EXCEPTION_CHARS = 4_000
"""Polars lists values, columns or whole schemas in one line."""
_WITHOUT_A_MESSAGE = (BaseExceptionGroup,)
"""Exceptions that need more arguments than one text."""


TEXT_FIELDS = (
    "message",
    "node",
    "field",
    "file",
    "hint",
    "detail",
    "exception_message",
)
"""Fields of `ErrorInfo` that hold texts of any origin."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """The ``error`` object of the REST API: one sentence, the place of the error, what to do."""

    code: Id
    message: Text
    node: Text | None = None
    field: Text | None = None
    file: Path | None = None
    row: Count | None = None
    hint: Text | None = None
    detail: Text | None = None
    """The traceback in the user's own code, without our frames; nothing else."""
    stage: Text | None = None
    """The stage of the job: `id` of a row of its stage table."""
    partition: Count | None = None
    log: Annotated[tuple[Text, ...], Items] = ()
    """The last lines that the task printed."""
    exception: Id | None = None
    """The class of the exception that caused the error; see `exception_name`."""
    exception_message: Text | None = None
    """The first line of that exception's text, word for word."""

    def map_texts(
        self, change: Callable[[str], object], *, names: tuple[str, ...] = TEXT_FIELDS
    ) -> ErrorInfo:
        """Return this error with some of its texts changed; texts that are missing stay so."""
        texts = {name: getattr(self, name) for name in names}
        changed: dict[str, Any] = {name: change(text) for name, text in texts.items() if text}
        return replace(self, **changed)


class MinisparkError(Exception):
    """The base class of every exception that this package raises on purpose."""

    default_code = "MS-100"
    job_id: str | None = None
    job_url: str | None = None
    """The page of the job on its master."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        node: str | None = None,
        field: str | None = None,
        file: str | None = None,
        row: int | None = None,
        hint: str | None = None,
        detail: str | None = None,
    ) -> None:
        # Not super().__init__: a class that is also a UnicodeError takes other arguments.
        Exception.__init__(self, message)
        self.info = ErrorInfo(
            code=code or self.default_code,
            message=message,
            node=node,
            field=field,
            file=file,
            row=row,
            hint=hint,
            detail=detail,
        )

    @classmethod
    def from_info(cls, info: ErrorInfo) -> Self:
        """Return the exception with ``info``, which is also of the class that ``info`` names."""
        original = _class_named(info.exception)
        kind = cls if original is None or issubclass(cls, original) else _combine(cls, original)
        error = cast("Self", kind(info.message))
        error.info = info
        return error

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process makes the combined class again: pickle finds only names of modules.
        plain = getattr(type(self), "_combined_from", type(self))
        return plain.from_info, (self.info,), self.__dict__

    def _lines(self) -> list[str]:
        """Return the text of the exception that caused the error, then what the CLI prints."""
        info = self.info
        caused_by = [] if info.exception_message is None else [info.exception_message]
        traceback = (info.detail or "").rstrip().splitlines()
        above = (info.exception_message, *traceback[-1:])
        sentence = [] if info.message in above else [info.message]
        detail = [f"  | {line}" for line in traceback]
        places = [
            f"{name} {value}"
            for name, value in (
                ("job", self.job_id),
                ("partition", info.partition),
                ("node", info.node),
                ("file", info.file),
                ("row", info.row),
                ("field", info.field),
            )
            if value is not None
        ]
        stage = [] if info.stage is None else [info.stage]
        hint = [] if info.hint is None else [f"hint: {info.hint}"]
        page = [] if self.job_url is None else [f"see {self.job_url}"]
        return [
            *caused_by,
            *sentence,
            *detail,
            ", ".join([info.code, *stage, *places]),
            *hint,
            *page,
        ]

    def _render_traceback_(self) -> list[str]:
        return ipython_lines(self)


class UsageError(MinisparkError):
    """Bad input, found before anything runs."""

    default_code = "MS-101"


class JobFailedError(MinisparkError):
    """A job ended FAILED."""

    default_code = "MS-201"


class JobCancelledError(MinisparkError):
    """A job was cancelled."""

    default_code = "MS-301"


class UnsupportedError(MinisparkError, NotImplementedError):
    """A part of a public interface that does not exist yet."""

    default_code = "MS-401"


class MasterUnreachableError(MinisparkError):
    """No master answers at the address given."""

    default_code = "MS-501"


@dataclass(frozen=True, slots=True)
class TaskError:
    """The work of the task raised: bad data, a plan that cannot run, a user's exception.

    ``transient`` is True if another attempt may succeed (after an OSError, for example).
    """

    error: ErrorInfo
    transient: bool = False
    kind: Literal["task_error"] = "task_error"


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """An input block is missing or corrupt: the task that wrote it must run again."""

    job: Id
    stage: Count
    generation: Count
    partition: Count
    attempt: Count
    reason: Text
    kind: Literal["fetch_failed"] = "fetch_failed"

    @property
    def key(self) -> TaskKey:
        """The attempt that wrote the block."""
        return TaskKey(self.job, self.stage, self.generation, self.partition, self.attempt)


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The worker or the executor process that ran the attempt has ended."""

    reason: Text
    kind: Literal["worker_lost"] = "worker_lost"


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The executor was killed before memory ran out.

    ``bound`` says which limit was reached: the limit of the worker, or the memory that has to stay
    free on the machine or in the control group.
    """

    limit_bytes: Count
    used_bytes: Count = 0
    bound: Literal["given", "machine"] = "given"
    inputs: Annotated[tuple[Text, ...], Items] = ()
    """The largest inputs of the task, with their sizes."""
    kind: Literal["out_of_memory"] = "out_of_memory"


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt ran longer than its limit."""

    limit_s: Seconds
    kind: Literal["timed_out"] = "timed_out"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt was ended because its result is not needed any more."""

    kind: Literal["cancelled"] = "cancelled"


Failure = TaskError | FetchFailed | WorkerLost | OutOfMemory | TimedOut | Cancelled


def caused_by(error: BaseException, info: ErrorInfo) -> ErrorInfo:
    """Return ``info`` with the class and the text of the exception that caused it."""
    name = exception_name(error)
    if name is None:
        return info
    line = text_of(error).partition("\n")[0][:_EXCEPTION_CHARS]
    return replace(info, exception=name, exception_message=line)


def sentence_of(error: BaseException) -> str:
    """Return the sentence of an error of ours, or the text of another exception."""
    return error.info.message if isinstance(error, MinisparkError) else text_of(error)


def text_of(error: BaseException) -> str:
    """Return the text of an exception; in a user's own class even this may fail."""
    try:
        return str(error)
    except Exception:
        return f"{type(error).__name__} has no text: its __str__ failed"


def exception_name(error: BaseException) -> str | None:
    """Return the name of the nearest class of ``error`` that is of Polars or a builtin, or None."""
    names = (kind.__name__ for kind in type(error).__mro__ if _class_named(kind.__name__) is kind)
    return next(names, None)


def _class_named(name: str | None) -> type[BaseException] | None:
    """Return the class with a name that `exception_name` returned, or None.

    Polars is not imported for it: code that has not imported Polars catches none of its classes.
    """
    # No builtin BaseException: our errors must not end processes as SystemExit does.
    for module, base in ((sys.modules.get(_POLARS), BaseException), (builtins, Exception)):
        kind = None if name is None else getattr(module, name, None)
        if not isinstance(kind, type) or not issubclass(kind, base):
            continue
        if not issubclass(kind, _WITHOUT_A_MESSAGE):
            return kind
    return None


def _combine(ours: type[MinisparkError], original: type[BaseException]) -> type[MinisparkError]:
    """Return the class of errors that are of both classes; there is one for each pair."""
    if (ours, original) not in _COMBINED:
        names = {"__module__": ours.__module__, "__doc__": ours.__doc__, "_combined_from": ours}
        kind = cast("type[MinisparkError]", type(ours.__name__, (ours, original), names))
        # Another thread may have added its class first.
        _COMBINED.setdefault((ours, original), kind)
    return _COMBINED[ours, original]


_COMBINED: dict[tuple[type[MinisparkError], type[BaseException]], type[MinisparkError]] = {}
