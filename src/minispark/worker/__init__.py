"""The worker: takes attempts from the master, runs them in processes, serves their blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minispark.worker.settings import WorkerConfig

if TYPE_CHECKING:
    from minispark.worker.server import serve

__all__ = ["WorkerConfig", "serve"]


def __getattr__(name: str) -> Callable[..., None]:
    # Each executor imports this package, and none of them needs a web server.
    if name == "serve":
        from minispark.worker.server import serve

        return serve
    msg = f"module 'minispark.worker' has no attribute {name!r}"
    raise AttributeError(msg)
