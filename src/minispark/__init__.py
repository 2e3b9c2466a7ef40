"""Mini-Spark: Spark's model without the JVM, on Polars.

What is named here is loaded when it is first used, so that ``import minispark`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minispark.engines.polars_engine import Engine
    from minispark.errors import (
        JobCancelledError,
        JobFailedError,
        MasterUnreachableError,
        MinisparkError,
        UnsupportedError,
        UsageError,
    )

__all__ = [
    "Engine",
    "JobCancelledError",
    "JobFailedError",
    "MasterUnreachableError",
    "MinisparkError",
    "UnsupportedError",
    "UsageError",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "Engine": "minispark.engines.polars_engine",
    "JobCancelledError": "minispark.errors",
    "JobFailedError": "minispark.errors",
    "MasterUnreachableError": "minispark.errors",
    "MinisparkError": "minispark.errors",
    "UnsupportedError": "minispark.errors",
    "UsageError": "minispark.errors",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'minispark' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
