"""``minispark token``: derives tokens with fewer rights from the shared secret."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from minispark.cli.options import Master, check_together
from minispark.errors import UsageError


def token(
    context: typer.Context,
    level: Annotated[
        Literal["view", "submit", "worker"],
        typer.Argument(
            help="view: read jobs and workers. submit: also run jobs and read their results. "
            "worker: only run a worker."
        ),
    ],
    *,
    master: Master = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Where the master keeps its secret.", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the shared secret. Default: the one in the state directory."),
    ] = None,
) -> None:
    """Create a token with limited rights. Pass it as MINISPARK_TOKEN.

    The same secret always gives the same token. To revoke it, change the shared secret.
    """
    check_together(context, "token_file", "state_dir", "master")
    from minispark import config, discovery
    from minispark.tokens import Level, derive_strong

    state = state_dir or config.state_dir()
    if token_file is not None:
        secret: str | None = config.read_token_file(token_file)
    elif state_dir is not None:
        secret = config.find_token(state_dir)
    else:
        url = discovery.resolve(master) if master else discovery.find_master()
        secret = discovery.find_token(url, state)
    if not secret:
        msg = f"there is no shared secret in {state}"
        hint = "Start a master, which makes one, or set MINISPARK_TOKEN."
        raise UsageError(msg, code="MS-611", hint=hint)
    typer.echo(derive_strong(secret, Level(level)))
