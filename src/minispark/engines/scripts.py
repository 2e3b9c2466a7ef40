"""Lets functions of the user's script travel to other processes.

Polars pickles a function by reference where it can, and resorts to cloudpickle where it cannot.
A function of the program that was started counts as importable, as ``__main__.name``; but
another process has another ``__main__``. While the module is out of sight, such functions are
pickled by value.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_lock = threading.RLock()


@contextmanager
def main_out_of_sight() -> Iterator[None]:
    """Make functions and classes of ``__main__`` travel by value within the block."""
    with _lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
