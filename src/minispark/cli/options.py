"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "CaFile", "DataRoot", "Master", "Parallelism", "TlsCert", "TlsKey"]

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
Master = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The master; else MINISPARK_MASTER, the master of this user on this machine, or "
        "http://127.0.0.1:8080.",
        show_default=False,
    ),
]
Parallelism = Annotated[
    int | None,
    typer.Option(min=1, max=65_536, help="Number of partitions; else chosen from bytes."),
]
TlsCert = Annotated[
    Path | None, typer.Option(help="Certificate chain to show (PEM).", show_default=False)
]
TlsKey = Annotated[Path | None, typer.Option(help="Its private key (PEM).", show_default=False)]
