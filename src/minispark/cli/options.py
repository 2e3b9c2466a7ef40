"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from minispark.errors import UnsupportedError, UsageError

Auth = Annotated[
    Literal["default", "figures-open", "all"],
    typer.Option(
        help="Who may read figures without a token: on loopback only, everybody, or nobody."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
CaFile = Annotated[
    Path | None,
    typer.Option(
        envvar="MINISPARK_CA_FILE",
        help="Certificates to trust (PEM), in place of the system's.",
        show_default=False,
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="What relative paths mean; nothing outside it is read or written."),
]
EngineName = Annotated[
    str, typer.Option(metavar="local|URL", help="Where to run: here, or on the master at URL.")
]
Master = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The master; else MINISPARK_MASTER, the master of this user on this machine, or "
        "http://127.0.0.1:8080.",
        show_default=False,
    ),
]
LogFormat = Annotated[
    Literal["auto", "json", "text"],
    typer.Option(help="Lines of the log; auto is text on a terminal, else JSON."),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option(help="What to log; debug has lines for every task."),
]
Parallelism = Annotated[
    int | None,
    typer.Option(min=1, max=65_536, help="Number of partitions; else chosen from bytes."),
]
TlsCert = Annotated[
    Path | None, typer.Option(help="Certificate chain to show (PEM).", show_default=False)
]
TlsKey = Annotated[Path | None, typer.Option(help="Its private key (PEM).", show_default=False)]


def master_of(engine: str) -> str | None:
    """Return the URL of the master that an engine's name is, None for this machine.

    Raises
    ------
    UsageError
        It is no engine.
    """
    if engine == "local":
        return None
    if engine == "ray":
        msg = "the Ray engine is not built yet"
        raise UnsupportedError(msg, field="engine")
    if not engine.startswith(("http://", "https://")):
        msg = f"there is no engine {engine!r}"
        raise UsageError(msg, field="engine", hint="Say local, or the URL of a master.")
    return engine
