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
    anybody with the ticket of a job, or a token -> worker
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
from minispark.task.spec import FragmentKey, TaskFailure, TaskReport, TaskSpec

PROTOCOL: Literal[1] = 1

_Ids = Annotated[tuple[bounds.Id, ...], bounds.Items]
BlockId = Annotated[str, Field(pattern=f"^{BLOCK_ID}$", max_length=2_000)]
_BlockIds = Annotated[tuple[BlockId, ...], bounds.Items]
Full = Literal["disk", "memory"]
"""Why a worker takes no more work."""
_MAX_METRICS = 200
"""A worker has about thirty."""
# Fields that are not known are left out: to list very many as mistakes would hold up the reader.
_CONFIG = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", extra="ignore", defer_build=True
)


class _Message(BaseModel):
    model_config = _CONFIG
    protocol: Literal[1] = PROTOCOL


class Versions(BaseModel):
    """What must agree where two processes meet; ``plan`` is the binary plan's schema hash."""

    python: bounds.Id
    polars: bounds.Id
    plan: bounds.Id
    minispark: bounds.Id


class RegisterRequest(_Message):
    """A worker offers itself. ``hashes`` is the fixed vector of key hashes of its CPU."""

    worker_id: bounds.Id
    url: bounds.Id
    host: bounds.Id
    directory: bounds.Path
    slots: bounds.Slots
    versions: Versions
    hashes: Annotated[tuple[bounds.Checksum, ...], bounds.Length(1_000)] = ()


class Membership(BaseModel):
    """Where a worker is registered, and under which epoch; all that it says carries this.

    Of another cluster an epoch says nothing: a new state directory begins with the first again.
    """

    model_config = ConfigDict(frozen=True)

    cluster_id: bounds.Id
    epoch: bounds.Count


class RegisterReply(_Message):
    """The master takes the worker."""

    member: Membership
    master_epoch: bounds.Count


class PollRequest(_Message):
    """Ask for work; the master answers at once if there is any, else within ``wait_s``."""

    member: Membership
    wait_s: Annotated[float, bounds.Range(0, 60)]


class BlockFetch(BaseModel):
    """A whole block file that a worker shall have, and where it lies now."""

    key: TaskKey
    host: bounds.Id
    directory: bounds.Path
    url: bounds.Id
    bytes: bounds.Count
    kept: TaskKey | None = None
    """The name under which it lies there, where a cache has it."""


class Fragment(BaseModel):
    """The plan that the tasks of a branch run."""

    model_config = _CONFIG

    key: FragmentKey
    data: bounds.Data


class PollReply(_Message):
    """What a worker shall do.

    ``fragments`` are those that its tasks name and that this session of the worker was not sent
    before; a worker that misses one asks for it (`FragmentRequest`).

    ``release`` are block ids that nobody will read, ``release_jobs`` jobs of which it shall keep
    no block at all. ``dismissed``: it wanted to leave, and may. Of its cache a job begins with the
    blocks ``cache_used``, and those in ``cache_drop`` could not be read.
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
    """Ask for a fragment that a task names and the worker does not have."""

    member: Membership
    key: FragmentKey


class FragmentReply(_Message):
    """The fragment; None if its job has ended."""

    fragment: Fragment | None = None
    register_again: bool = False
    master_epoch: bounds.Count = 0


class ReportRequest(_Message):
    """Attempts that ended, and blocks that were fetched as a poll's ``move`` told.

    ``cache`` is what the worker's cache has since the version that the master last answered. With
    ``more`` the answer brings what the next poll would: tasks for those that ended.
    """

    member: Membership
    reports: Annotated[tuple[TaskReport | TaskFailure, ...], bounds.Items]
    moved: Annotated[tuple[TaskKey, ...], bounds.Items] = ()
    cache: CacheChanges | None = None
    more: bool = False


class ReportReply(PollReply):
    """Reports were taken; of its cache the master knows what it had at ``cache_version``."""

    cache_version: bounds.Count = 0


class HeartbeatRequest(_Message):
    """Sign of life, and what the worker holds (queued or running).

    ``held_jobs`` are the jobs of which it has blocks; ``full`` is why it takes no more work now:
    "disk" or "memory". Metrics have ``disk_free_bytes`` and ``block_bytes``.
    """

    member: Membership
    attempts: Annotated[tuple[TaskKey, ...], bounds.Items]
    metrics: Annotated[dict[bounds.Id, bounds.Quantity], bounds.Length(_MAX_METRICS)] = {}
    held_jobs: _Ids = ()
    full: Full | None = None
    cache: CacheChanges | None = None


class WorkerReply(_Message):
    """Answer to what needs none, but for a worker the master does not know.

    A worker that has heard of a later ``master_epoch`` ignores what an earlier one says. Of the
    jobs in ``keep`` these blocks (ids) are results; what else it has of them nobody will read. Of
    its cache the master knows what it had at ``cache_version``.
    """

    register_again: bool = False
    master_epoch: bounds.Count = 0
    keep: Annotated[dict[bounds.Id, _BlockIds], bounds.Entries] = {}
    cache_version: bounds.Count = 0


class PlannedJob(_Message):
    """A job planned in the client; ``weight`` is its share beside those of other jobs."""

    name: Annotated[str, bounds.Length(200)]
    graph: StageGraph
    versions: Versions
    weight: Annotated[float, bounds.Range(MIN_WEIGHT, MAX_WEIGHT)] = 1.0


class GraphMessage(_Message):
    """A plan: as the planner child hands it to its master, and as the master keeps it."""

    graph: StageGraph


class JobAccepted(_Message):
    """The job exists."""

    job_id: bounds.Id
    status: bounds.Id = "ACCEPTED"


class NodeBlocks(BaseModel):
    """Where the rows of one result lie, in partition order."""

    node: bounds.Text
    columns: Annotated[tuple[bounds.Text, ...], bounds.Items]
    rows: bounds.Count
    blocks: Annotated[tuple[BlockSource, ...], bounds.Items]


class ResultBlocks(_Message):
    """Where the results of a job lie, for a client that reads blocks itself.

    ``ticket`` is what it shows to the workers that have them, instead of its token.
    """

    nodes: Annotated[tuple[NodeBlocks, ...], bounds.Items]
    ticket: bounds.Id | None = Field(default=None, repr=False)
