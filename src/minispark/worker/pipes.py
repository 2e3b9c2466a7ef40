"""The messages between a worker and its executors.

Each is a length (4 bytes) and a pickle: both ends are this code and this user.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import Any

from minispark.blocks.fetch import FetchSettings

LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class ExecutorHello:
    """The first message to an executor. ``path`` is where it imports users' modules from."""

    fetch: FetchSettings
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExecutorReady:
    """The first message of an executor: Polars is loaded and warm."""


def pack(message: object) -> bytes:
    """Return a message as it goes over the pipe."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    """Read a message back, without its length."""
    return pickle.loads(body)  # noqa: S301 - from our own parent or child only
