"""Mini-Spark: Spark's model without the JVM, on Polars.

Each name is imported when it is first used, so ``import minispark`` is quick.
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


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module 'minispark' has no attribute {name!r}"
        raise AttributeError(msg)
    module = "minispark.engines.polars_engine" if name == "Engine" else "minispark.errors"
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
