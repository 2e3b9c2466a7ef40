"""The messages between a worker and its executors.

A message is a length (4 bytes) and a pickle: both ends are the same code and the same user.
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
    """The first message to an executor. It imports users' modules from ``path``."""

    fetch: FetchSettings
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExecutorReady:
    """The first message of an executor: Polars is loaded and warm."""


def pack(message: object) -> bytes:
    """Return a message as bytes, its length first."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def unpack(body: bytes) -> Any:
    """Return a message from its bytes without the length."""
    return pickle.loads(body)  # noqa: S301 - from our own parent or child only
