"""``minispark ui``: opens the web page of a master, logged in."""

from __future__ import annotations

from typing import Annotated

import typer

from minispark.cli.options import Master
from minispark.printable import printable


def ui(
    *,
    print_: Annotated[
        bool, typer.Option("--print", help="Only print the link; it works once.")
    ] = False,
    next_: Annotated[
        str, typer.Option("--next", metavar="PATH", help="Where it leads, such as /jobs/ID.")
    ] = "/",
    master: Master = None,
) -> None:
    """Open the web page of the cluster in a browser, by a link that logs it in once.

    The browser may then do what your token may, for twelve hours.
    """
    import webbrowser

    from minispark.engines.http import MasterClient

    with MasterClient(master) as client:
        link = client.login_link(next_)
    if print_ or not webbrowser.open(link):
        typer.echo(printable(link))
