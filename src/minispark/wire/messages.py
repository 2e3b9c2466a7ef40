"""Messages between master, workers and clients, as JSON (bytes as base64).

Routes (all but ``/healthz`` need ``Authorization: Bearer``)::

    worker -> master
      POST   /internal/v1/workers                 RegisterRequest  -> RegisterReply
      POST   /internal/v1/workers/{id}/poll       PollRequest      -> PollReply   (held open)
      POST   /internal/v1/workers/{id}/reports    ReportRequest    -> WorkerReply
      POST   /internal/v1/workers/{id}/heartbeat  HeartbeatRequest -> WorkerReply
      DELETE /internal/v1/workers/{id}?epoch=N                     -> WorkerReply
    client -> master
      POST   /internal/v1/jobs                    PlannedJob       -> JobAccepted (Idempotency-Key)
      GET    /internal/v1/jobs/{id}/blocks                         -> ResultBlocks
    anybody with the token -> worker
      GET    /internal/v1/blocks/{block_id}       bytes of the block file, Range honoured
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from minispark.blocks.meta import BlockSource
from minispark.ids import TaskKey
from minispark.plan.stages import StageGraph
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec

__all__ = [
    "PROTOCOL",
    "GraphMessage",
    "HeartbeatRequest",
    "JobAccepted",
    "NodeBlocks",
    "PlannedJob",
    "PollReply",
    "PollRequest",
    "RegisterReply",
    "RegisterRequest",
    "ReportRequest",
    "ResultBlocks",
    "Versions",
    "WorkerReply",
]

PROTOCOL: Literal[1] = 1

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="forbid")


class _Message(BaseModel):
    model_config = _CONFIG
    protocol: Literal[1] = PROTOCOL


class Versions(BaseModel):
    """What must agree where two processes meet; ``plan`` is the binary plan's schema hash."""

    python: str
    polars: str
    plan: str
    minispark: str


class RegisterRequest(_Message):
    """A worker offers itself. ``hashes`` is the fixed vector of key hashes of its CPU."""

    worker_id: str
    url: str
    host: str
    directory: str
    slots: int = Field(ge=1)
    threads_per_slot: int = Field(ge=1)
    versions: Versions
    hashes: tuple[int, ...] = ()


class RegisterReply(_Message):
    """The master takes the worker under an epoch; every later message carries it."""

    epoch: int
    master_epoch: int
    cluster_id: str


class PollRequest(_Message):
    """Ask for work; the master answers at once if there is any, else within ``wait_s``."""

    epoch: int
    wait_s: float = Field(ge=0, le=60)


class PollReply(_Message):
    """What a worker shall do. ``release`` are block ids that nobody will read."""

    tasks: tuple[TaskSpec, ...] = ()
    cancel: tuple[TaskKey, ...] = ()
    release: tuple[str, ...] = ()
    register_again: bool = False


class ReportRequest(_Message):
    """Attempts that ended."""

    epoch: int
    reports: tuple[TaskReport | TaskFailure, ...]


class HeartbeatRequest(_Message):
    """Sign of life, and what the worker holds (queued or running)."""

    epoch: int
    attempts: tuple[TaskKey, ...]
    free_slots: int
    metrics: dict[str, float] = {}


class WorkerReply(_Message):
    """Answer to what needs none, but for a worker the master does not know."""

    register_again: bool = False


class PlannedJob(_Message):
    """A job planned in the client."""

    name: Annotated[str, Field(max_length=200)]
    graph: StageGraph
    versions: Versions


class GraphMessage(_Message):
    """A plan, as the planner child hands it to its master."""

    graph: StageGraph


class JobAccepted(_Message):
    """The job exists."""

    job_id: str
    status: str = "ACCEPTED"


class NodeBlocks(BaseModel):
    """Where the rows of one result lie, in partition order."""

    node: str
    columns: tuple[str, ...]
    rows: int
    blocks: tuple[BlockSource, ...]


class ResultBlocks(_Message):
    """Where the results of a job lie, for a client that reads blocks itself."""

    nodes: tuple[NodeBlocks, ...]
