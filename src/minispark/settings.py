"""Pure policies: every limit by name, with its reason. Nothing here reads the environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 1 << 20
MIN_WEIGHT = 0.01
MAX_WEIGHT = 100.0
"""Weights of jobs: beyond them one job would stand still, or all others."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How the planner cuts."""

    parallelism: int | None = None
    """Number of partitions where a node does not say; None chooses from bytes."""
    split_bytes: int = 16 * MIB
    """Input bytes of a task: about 0.2 s of work on one core."""
    reduce_bytes: int = 64 * MIB
    """Input bytes of the job per reduce partition where no number was given."""
    single_task_bytes: int = 1 * MIB
    """A job that reads less is one task: an exchange costs more than it saves."""
    broadcast_bytes: int = 32 * MIB
    """A join side whose input files are smaller is sent whole to every task."""
    max_partitions: int = 65_536
    """More would be a mistyped number."""
    planning_s: float = 60.0
    """A plan that takes longer to cut runs whole: the rules are quadratic in a plan's depth."""


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How the scheduler decides. Times in seconds."""

    heartbeat_timeout_s: float = 10.0
    max_attempts: int = 3
    max_load_diff: int = 2
    """The seed's rule: eligible when ``active_tasks <= min_load + max_load_diff``."""
    no_worker_grace_s: float = 60.0
    """A job that has had no worker for so long fails instead of hanging."""
    lost_task_grace_s: float = 5.0
    """A worker that has not named a leased attempt for so long never got it."""
    max_stage_generations: int = 4
    """Repeated loss of a stage's output is bounded, then fails the job."""
    max_fetch_failures: int = 100
    """Fetch failures of one job before it fails: a disk that eats blocks must not loop for ever."""
    max_task_losses: int = 10
    """Losses of one task with its worker before its job fails: it may be what ends them."""
    take_back_after_s: float = 0.5
    """An attempt that has waited behind another for so long goes to a worker with a free slot;
    sooner, it would mostly begin where it is before the news arrives."""
    policy: Literal["fair", "fifo"] = "fair"
    """Whose task is next: that of the job with the least for its weight, or of the oldest job."""
    speculation: bool = True
    """Run a second attempt of a straggler, and take the first that ends."""
    speculation_quantile: float = 0.75
    """Share of a stage that has to be done before its rest can be slow."""
    speculation_multiplier: float = 2.0
    """A straggler has run so many times as long as the median of its stage."""
    speculation_min_s: float = 2.0
    """Nothing shorter is a straggler: a second attempt costs more than it saves."""
    exclude_after: int = 3
    """Different tasks that fail on a worker in a row, none succeeding between: it is the worker."""
    exclude_s: float = 60.0
    """A worker that was left out for so long is tried again: a full disk may have been emptied."""
    drain_timeout_s: float = 30.0
    """What a worker that leaves may still run and hand over; then it goes as if it were lost."""
    drain_alone_s: float = 5.0
    """How long one that leaves waits for somebody to take its blocks where no other worker is: a
    cluster that is stopped as a whole should not take its time."""
    move_timeout_s: float = 10.0
    """A worker that has brought none of the blocks it was told to fetch for so long is not going
    to: another is asked."""
    max_moves: int = 64
    """Blocks that one worker fetches at a time for one that leaves: about a GB."""
    max_down_workers: int = 100
    """Workers that are gone and still listed: each start of a worker may bring a new name."""
    no_room_grace_s: float = 60.0
    """When every worker has been full for so long and nothing runs, jobs fail with the reason."""
    max_prefetch: int = 64
    """Attempts a worker may lease beyond its slots, so that a slot never waits for a round trip;
    more would only fill memory, here and there."""
    first_prefetch: int = 2
    """So many while nobody knows how long the tasks of a stage take, and at least so many of
    those that are not long."""
    prefetch_s: float = 0.5
    """Work that waits on a worker where tasks are short: some round trips of a busy master."""
    prefetch_task_s: float = 0.5
    """A stage whose tasks take longer leases nothing ahead: beside them a round trip is nothing,
    and what is leased ahead stands in the way of other jobs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the master accepts: beyond it is a mistake or an attack."""

    body_bytes: int = 64 * MIB
    """A plan of a client may hold its data."""
    job_bytes: int = 4 * MIB
    """A JSON job: a thousand nodes with texts of some thousand characters."""
    nodes: int = 1_000
    edges: int = 10_000
    expression_chars: int = 10_000
    expression_depth: int = 500
    """Deeper expressions end a Polars process with SIGSEGV (3,000 passes, 10,000 does not)."""
    query_tables: int = 256
    """How often the queries of a job may read tables, as a query that uses each of its tables twice
    in the next doubles the plan: 512 take half a minute to plan."""
    plan_timeout_s: float = 60.0
    plan_memory_bytes: int = 4 << 30
    jobs_per_planner: int = 100
    planners: int = 3
    """One is for the shared secret; of the others, a token has one from each address."""
    waiting_plans: int = 50
    """Jobs of one token and address that wait for a planner; each is in memory."""
    running_jobs: int = 1_000
    reserved_jobs: int = 100
    """Of those, how many only the shared secret may start: holders of the submit token must not be
    able to shut the owner of the cluster out."""
    retained_jobs: int = 200
    """Finished jobs whose results and records are kept."""


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How the master keeps its journal. Times in seconds."""

    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    """What a power cut may cost. NORMAL: the last moments of task reports, whose tasks then run
    again (0.01 ms a commit); FULL: nothing (0.2 ms and more). Jobs accepted, commits and ends of
    jobs are always synced, and the death of the process alone costs nothing at either level."""
    batch: int = 1_000
    """Writes of one transaction: bounds the time until the first of them is durable."""
    queue: int = 100_000
    """Writes that may wait for the disk; beyond it the master takes nothing in that it would have
    to write: about 100 MB, or a minute of the busiest cluster."""
    busy_s: float = 1.0
    """How long another process may lock the database before that counts as trouble."""
    retry_first_s: float = 0.1
    """Pause after the first write that failed; it doubles with each."""
    retry_last_s: float = 2.0
    """Longest pause: room on the disk is noticed within about this time."""
    close_s: float = 5.0
    """How long a master that stops waits for a disk that takes nothing; then it stops as if it
    had been killed."""
    snapshot_steps: int = 20_000
    """Steps of the scheduler between two snapshots: bounds what a restart replays to seconds."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What a worker keeps of its work for later jobs."""

    memory_bytes: int = 128 * MIB
    """At most so much in memory, and never more than half of what the tmpfs has."""
    disk_bytes: int = 4096 * MIB
    """At most so much on disk: some dozen times the memory tier, a fraction of a small disk."""
    reserve: float = 0.1
    """Share of the disk, and of the machine's memory, that stays free: running jobs need it more
    than later ones."""


@dataclass(frozen=True, slots=True)
class FragmentSettings:
    """What a worker keeps of the plans that its tasks run."""

    memory_bytes: int = 256 * MIB
    """Fragments in memory, of all jobs. The least recently used go first; a task that names one
    that is gone has the worker ask for it again."""


@dataclass(frozen=True, slots=True)
class CapacitySettings:
    """When a worker takes no more work. What it has been given it goes on with."""

    high_water: float = 0.85
    """Share of a limit that was given: what runs still needs some."""
    reserve: float = 0.05
    """Share of the disk, or of the memory, that has to be free where no limit was given; below
    that of the cache, which makes way first."""
    reserve_bytes: int = 512 * MIB
    """More than so much need not be free: a few tasks' output, or the memory of one."""
    relief: float = 0.05
    """So much below a mark that was passed there is room again."""
    last_reserve: float = 0.5
    """Share of the reserve of memory below which the executor that grew most is killed: were it
    left to the kernel, that would choose, and in a container perhaps all of it."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a server bears from those who knock, each limit per peer address. Times in seconds.

    All addresses of loopback are one peer.
    """

    free_failures: int = 10
    """Wrong tokens of a peer that are answered at once: a stale token in a script is no attack."""
    first_pause_s: float = 0.1
    """How long the answer to the next wrong one is held back; it doubles with each."""
    last_pause_s: float = 2.0
    forget_failures_s: float = 60.0
    """A peer that has been quiet for so long begins anew."""
    held_answers: int = 32
    """Answers held back at a time. Of a peer that has so many waiting no further token is looked
    at, but on loopback, where the owner and everybody else have the same address."""
    remembered_peers: int = 1_024
    """Peers whose failures and open requests are known; the oldest is forgotten first."""
    open_requests: int = 512
    """Requests and polls of a token at a time, where it is that of workers or the shared secret:
    three for each worker of a host, and half of the files that a process may usually open."""
    lesser_requests: int = 128
    """Requests of any other token, and of none, at a time: counted apart for each, so that none
    takes the places of another level on a shared address."""
    open_streams: int = 128
    """Streams and waits of any other token at a time, counted apart from its requests."""
    connections: int = 768
    reserved_share: float = 0.25
    """Of all connections, what only workers and the shared secret may have."""
    head_s: float = 20.0
    """How long the head of a request may take to come in whole."""
    body_s: float = 30.0
    """How long a body may pause."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a master or worker writes to standard error."""

    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
