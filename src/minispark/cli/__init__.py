"""The command line: one module per group of commands; `app` registers them.

Importing this package imports neither Polars nor the HTTP libraries: a command imports them when it
runs, so ``minispark --help`` is quick.
"""

from minispark.cli.app import main

__all__ = ["main"]
