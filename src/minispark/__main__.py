"""The command ``minispark``, also as ``python -m minispark``."""

from __future__ import annotations

import os
from typing import NoReturn

from minispark.signals import ignore_interrupts, interrupts


def main() -> NoReturn:
    """Import and run the command line; an interrupt during the import ends the process too."""
    interrupts.install()
    try:
        from minispark.cli import main as run
    except KeyboardInterrupt:
        # There is nothing to clean up, and the traceback of an import does not help.
        os._exit(130)
    try:
        run()
    finally:
        ignore_interrupts()


if __name__ == "__main__":
    main()
