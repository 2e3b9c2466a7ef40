"""Messages between master, workers and clients, as JSON (bytes as base64).

Routes (all but ``/healthz`` need ``Authorization: Bearer``)::

    worker -> master
      POST   /internal/v1/workers                 RegisterRequest  -> RegisterReply
      POST   /internal/v1/workers/{id}/poll       PollRequest      -> PollReply   (held open)
      POST   /internal/v1/workers/{id}/fragments  FragmentRequest  -> FragmentReply
      POST   /internal/v1/workers/{id}/reports    ReportRequest    -> ReportReply
      POST   /internal/v1/workers/{id}/heartbeat  HeartbeatRequest -> WorkerReply
      POST   /internal/v1/workers/{id}/drain?cluster_id=C&epoch=N  -> WorkerReply
      DELETE /internal/v1/workers/{id}?cluster_id=C&epoch=N        -> WorkerReply
    client -> master
      POST   /internal/v1/jobs                    PlannedJob       -> JobAccepted (Idempotency-Key)
      GET    /internal/v1/jobs/{id}/blocks                         -> ResultBlocks
      GET    /internal/v1/jobs/{id}/plan                           -> GraphMessage
    a process with the ticket of a job, or a token -> worker
      GET    /internal/v1/blocks/{block_id}       bytes of the block file, Range honoured
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from minispark import bounds
from minispark.blocks.cache import CacheChanges
from minispark.blocks.meta import BlockSource
from minispark.ids import BLOCK_ID, TaskKey
from minispark.plan.stages import StageGraph
from minispark.settings import MAX_WEIGHT, MIN_WEIGHT
from minispark.task.spec import FragmentKey, TaskFailure, TaskProgress, TaskReport, TaskSpec

PROTOCOL: Literal[1] = 1

_Ids = Annotated[tuple[bounds.Id, ...], bounds.Items]
BlockId = Annotated[str, Field(pattern=f"^{BLOCK_ID}$", max_length=2_000)]
_BlockIds = Annotated[tuple[BlockId, ...], bounds.Items]
Full = Literal["disk", "memory"]
"""Why a worker accepts no more work."""
_MAX_METRICS = 200
"""A worker has about thirty."""
# Unknown fields are ignored: an error that lists very many of them would take long to build.
_CONFIG = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", extra="ignore", defer_build=True
)


class _Message(BaseModel):
    model_config = _CONFIG
    protocol: Literal[1] = PROTOCOL


class Versions(BaseModel):
    """The versions that two processes must have in common; ``plan`` is Polars' plan schema hash."""

    python: bounds.Id
    polars: bounds.Id
    plan: bounds.Id
    minispark: bounds.Id


class WorkerFacts(BaseModel):
    """The machine of a worker and its limits, for people. Sizes in bytes, None for no limit."""

    host: bounds.Id = ""
    """Name of the machine."""
    system: bounds.Id = ""
    """Operating system and processor architecture."""
    cores: bounds.Count = 0
    """Cores that the worker may use."""
    threads_per_slot: bounds.Count = 1
    machine_memory_bytes: bounds.Count = 0
    """Memory of the machine or of its control group; 0 if the system does not tell."""
    memory_limit_bytes: bounds.Count | None = None
    """Limit of all tasks together."""
    disk_bytes: bounds.Count = 0
    """Size of the disk of the blocks."""
    disk_limit_bytes: bounds.Count | None = None
    """Limit of the blocks of running jobs."""
    cache_memory_limit_bytes: bounds.Count = 0
    """Limit of the cache in memory; 0 if there is no cache."""
    cache_disk_limit_bytes: bounds.Count = 0
    """Limit of the cache on disk."""


class RegisterRequest(_Message):
    """A worker asks to join. ``hashes`` are hashes of fixed keys, computed on its CPU."""

    worker_id: bounds.Id
    url: bounds.Id
    host: bounds.Id
    directory: bounds.Path
    slots: bounds.Slots
    versions: Versions
    hashes: Annotated[tuple[bounds.Checksum, ...], bounds.Length(1_000)] = ()
    facts: WorkerFacts | None = None


class Membership(BaseModel):
    """The cluster and the epoch of a registered worker, which all its messages hold.

    Epochs of different clusters cannot be compared: a new state directory starts at the first.
    """

    model_config = ConfigDict(frozen=True)

    cluster_id: bounds.Id
    epoch: bounds.Count


class RegisterReply(_Message):
    """The master accepts the worker."""

    member: Membership
    master_epoch: bounds.Count


class PollRequest(_Message):
    """A worker asks for work; the master answers at once if it has some, else within ``wait_s``."""

    member: Membership
    wait_s: Annotated[float, bounds.Range(0, 60)]


class BlockFetch(BaseModel):
    """A block file that a worker is asked to copy, and the worker that has it."""

    key: TaskKey
    host: bounds.Id
    directory: bounds.Path
    url: bounds.Id
    bytes: bounds.Count
    kept: TaskKey | None = None
    """The name of the block in the cache of that worker, if it is cached."""


class Fragment(BaseModel):
    """The plan that the tasks of a branch run, with its name."""

    model_config = _CONFIG

    key: FragmentKey
    data: bounds.Data


class PollReply(_Message):
    """Commands of the master to a worker.

    ``fragments`` are fragments of ``tasks`` that this session of the worker has not received yet;
    the worker asks for a missing one (`FragmentRequest`).

    ``release`` are ids of blocks that no task will read; the worker removes all blocks of
    ``release_jobs``. ``dismissed``: the worker asked to leave, and may leave now. A new job uses
    the cached blocks ``cache_used``; the cached blocks ``cache_drop`` could not be read.
    """

    tasks: Annotated[tuple[TaskSpec, ...], bounds.Items] = ()
    fragments: Annotated[tuple[Fragment, ...], bounds.Items] = ()
    cancel: Annotated[tuple[TaskKey, ...], bounds.Items] = ()
    release: _BlockIds = ()
    release_jobs: _Ids = ()
    move: Annotated[tuple[BlockFetch, ...], bounds.Items] = ()
    cache_used: _BlockIds = ()
    cache_drop: _BlockIds = ()
    dismissed: bool = False
    register_again: bool = False
    master_epoch: bounds.Count = 0


class FragmentRequest(_Message):
    """A worker asks for a fragment that a task names and that it does not have."""

    member: Membership
    key: FragmentKey


class FragmentReply(_Message):
    """The fragment; None if its job has ended."""

    fragment: Fragment | None = None
    register_again: bool = False
    master_epoch: bounds.Count = 0


class ReportRequest(_Message):
    """Attempts that ended, and blocks of ``move`` that were copied.

    ``cache`` are changes of the cache since the version in the last answer of the master. With
    ``more`` the answer holds the same as that of the next poll, such as new tasks.
    """

    member: Membership
    reports: Annotated[tuple[TaskReport | TaskFailure, ...], bounds.Items]
    moved: Annotated[tuple[TaskKey, ...], bounds.Items] = ()
    cache: CacheChanges | None = None
    more: bool = False


class ReportReply(PollReply):
    """The master accepts the reports, and knows the cache up to ``cache_version``."""

    cache_version: bounds.Count = 0


class HeartbeatRequest(_Message):
    """A worker is alive and has these attempts (queued or running).

    ``held_jobs`` are the jobs of which the worker has blocks. ``full`` says why it accepts no more
    work now. Metrics have ``disk_free_bytes`` and ``block_bytes``.
    """

    member: Membership
    attempts: Annotated[tuple[TaskKey, ...], bounds.Items]
    metrics: Annotated[dict[bounds.Id, bounds.Quantity], bounds.Length(_MAX_METRICS)] = {}
    held_jobs: _Ids = ()
    full: Full | None = None
    cache: CacheChanges | None = None
    progress: Annotated[tuple[TaskProgress, ...], bounds.Items] = ()
    """Of the attempts that run; those that wait for a slot have none."""


class WorkerReply(_Message):
    """The default reply; ``register_again`` is set if the master does not know the worker.

    A worker ignores replies with an earlier ``master_epoch`` than the latest that it has received.
    ``keep`` are the ids of result blocks by job; no task will read other blocks of these jobs. The
    master knows the cache up to ``cache_version``.
    """

    register_again: bool = False
    master_epoch: bounds.Count = 0
    keep: Annotated[dict[bounds.Id, _BlockIds], bounds.Entries] = {}
    cache_version: bounds.Count = 0


class PlannedJob(_Message):
    """A job planned by a client; ``weight`` is its share relative to other jobs."""

    name: Annotated[str, bounds.Length(200)]
    graph: StageGraph
    versions: Versions
    weight: Annotated[float, bounds.Range(MIN_WEIGHT, MAX_WEIGHT)] = 1.0
    sql: Annotated[str, bounds.Length(bounds.MAX_TEXT_CHARS)] | None = None
    """The query, if it was SQL; only shown."""


class GraphMessage(_Message):
    """A plan, as the planner process returns it and the master stores it."""

    graph: StageGraph


class JobAccepted(_Message):
    """The id of a new job."""

    job_id: bounds.Id
    status: bounds.Id = "ACCEPTED"


class NodeBlocks(BaseModel):
    """The blocks of one result, in partition order."""

    node: bounds.Text
    columns: Annotated[tuple[bounds.Text, ...], bounds.Items]
    rows: bounds.Count
    blocks: Annotated[tuple[BlockSource, ...], bounds.Items]


class ResultBlocks(_Message):
    """The blocks of the results of a job, for a client that reads blocks itself.

    The client sends ``ticket`` to the workers that have the blocks, instead of its token.
    """

    nodes: Annotated[tuple[NodeBlocks, ...], bounds.Items]
    ticket: bounds.Id | None = Field(default=None, repr=False)
