"""Shared options, and their meaning: JSON output, a master, an engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from minispark.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from minispark.engines.http import MasterClient

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document, for scripts; a list is an array."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace --output if it exists.")]
_DATA_ROOT = "Base directory for relative paths. Access outside is refused."
DataRoot = Annotated[Path | None, typer.Option(help=_DATA_ROOT)]
EngineName = Annotated[
    str,
    typer.Option(
        metavar="local|URL", help="Where to run: local (this machine), or the URL of a master."
    ),
]
_MASTER = (
    "URL of the master. Default: MINISPARK_MASTER, your master on this machine, or "
    "http://127.0.0.1:8080."
)
Master = Annotated[str | None, typer.Option(metavar="URL", help=_MASTER, show_default=False)]
Parallelism = Annotated[
    int | None,
    typer.Option(min=1, max=65_536, help="Number of partitions. Default: based on input size."),
]
User = Annotated[
    str | None,
    typer.Option(
        help="Your name in the list of jobs. Default: MINISPARK_USER.", show_default=False
    ),
]
Format = Literal["csv", "jsonl", "parquet", "arrow"]
OutputFile = Annotated[
    Path | None,
    typer.Option(help="A file to write all rows to. Default: print to standard output."),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        help="Format of the rows. Default: from the extension of --output (.csv, .jsonl, .ndjson, "
        ".parquet, .arrow, .ipc, .feather).",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command that `with_options` makes.

    ``kind`` is the type, if it is not that of the default. ``also`` names environment variables
    besides the command's own. ``more`` are arguments of `typer.Option`.
    """

    default: Any
    text: str
    kind: Any = None
    flag: str | None = None
    also: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def parameter(self, command: str, name: str) -> Parameter:
        """Return the keyword parameter of the command."""
        own = f"MINISPARK_{command}_{name}".upper()
        info = typer.Option(
            *([self.flag] if self.flag else []),
            help=self.text,
            **{"envvar": [own, *self.also] if self.also else None, **self.more},
        )
        kind: Any = self.kind or type(self.default)
        annotation: Any = Annotated[kind if self.default is not None else kind | None, info]
        return Parameter(name, Parameter.KEYWORD_ONLY, default=self.default, annotation=annotation)


def with_options(options: Mapping[str, Option]) -> Callable[[Any], Any]:
    """Return a decorator that gives a command the options of a table, in its order."""

    def decorate(command: Any) -> Any:
        parameters = [option.parameter(command.__name__, name) for name, option in options.items()]
        command.__signature__ = Signature(parameters)
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


HIDDEN = {"show_default": False}
MASTER = Option(None, _MASTER, str, more=HIDDEN | {"metavar": "URL"})
HOST = Option("127.0.0.1", "The address to listen on.")
INSECURE = Option(
    default=False,
    text="Allow unencrypted connections from other machines.",
    flag="--insecure",
    also=("MINISPARK_INSECURE",),
)
WHO = {
    "auth": Option(
        "default",
        "Access to metrics without a token: default (only if it listens on loopback), "
        "figures-open (always), all (never).",
        Literal["default", "figures-open", "all"],
    ),
    "allowed_host": Option(None, "Additional Host header to accept; may be repeated.", list[str]),
}
"""Options of master and worker: who may send requests."""
SERVER = {
    "tls_cert": Option(None, "Certificate chain of this server (PEM).", Path, more=HIDDEN),
    "tls_key": Option(None, "Private key of the certificate (PEM).", Path, more=HIDDEN),
    "ca_file": Option(
        None,
        "Trusted certificates (PEM), instead of the system's.",
        Path,
        more=HIDDEN | {"envvar": "MINISPARK_CA_FILE"},
    ),
    "data_root": Option(None, _DATA_ROOT, Path),
}
"""Options of master and worker: TLS and data."""
LOGS = {
    "log_format": Option(
        "auto",
        "Log format; auto is text on a terminal, otherwise JSON.",
        Literal["auto", "json", "text"],
    ),
    "log_level": Option(
        "info",
        "Lowest level to log; debug logs every task.",
        Literal["debug", "info", "warning", "error"],
    ),
}
"""Options of master and worker: their log."""


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the command line has an option; its default and its variable do not count."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def check_together(context: typer.Context, *names: str) -> None:
    """Refuse two options of which one would be ignored; the names are those of the parameters."""
    given = [_flag(context, name) for name in names if is_given(context, name)]
    if len(given) > 1:
        msg = f"{given[0]} and {given[1]} cannot be given together"
        raise UsageError(msg, hint="Leave one of them out.")


def check_needs(context: typer.Context, needed: str, *names: str) -> None:
    """Refuse options that do nothing without another one, if the other one has no value."""
    given = [_flag(context, name) for name in names if is_given(context, name)]
    if given and context.params.get(needed) in (None, False):
        flag = _flag(context, needed)
        msg = f"{given[0]} does nothing without {flag}"
        raise UsageError(msg, hint=f"Give {flag}, or leave {given[0]} out.")


def check_unused(context: typer.Context, name: str, reason: str) -> None:
    """Refuse an option that does nothing with an argument of this kind."""
    if is_given(context, name):
        msg = f"{_flag(context, name)} does nothing with {reason}"
        raise UsageError(msg, hint=f"Leave {_flag(context, name)} out.")


def _flag(context: typer.Context, name: str) -> str:
    return next(each.opts[0] for each in context.command.params if each.name == name)


def print_json(value: object) -> None:
    """Print a value as JSON, for scripts."""
    # `json` escapes all characters that are not ASCII; of the others a terminal obeys DEL.
    sys.stdout.write(json.dumps(value, indent=2).replace("\x7f", "\\u007f") + "\n")


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON, at once: others may follow much later."""
    sys.stdout.write(json.dumps(value).replace("\x7f", "\\u007f") + "\n")
    sys.stdout.flush()


def connect(master: str | None, *, user: str | None = None) -> MasterClient:
    """Return a client of a master; None finds the master as the option's help says."""
    # Imported here, since the HTTP libraries would slow every `--help` down.
    from minispark.engines.http import MasterClient

    return MasterClient(master, user=user)


def master_of(engine: str) -> str | None:
    """Return the URL of an engine's master, None for the engine of this machine.

    Raises
    ------
    UsageError
        There is no engine of this name.
    """
    if engine == "local":
        return None
    if engine == "ray":
        msg = "the Ray engine is not built yet"
        raise UnsupportedError(msg, field="engine")
    if not is_address(engine):
        msg = f"there is no engine {engine!r}"
        raise UsageError(msg, field="engine", hint="Use local, or the URL of a master.")
    from minispark.discovery import resolve

    return resolve(engine)


def is_address(text: str) -> bool:
    """Whether a text is the address of a server, and not a name or an id."""
    return ":" in text or text == "localhost"
