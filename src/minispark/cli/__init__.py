"""The command line: one module per command group; `app` puts them together.

Importing this package imports neither Polars nor the HTTP libraries: each command imports what
it runs when it runs, so that ``minispark --help`` answers at once.
"""

from minispark.cli.app import main

__all__ = ["main"]
