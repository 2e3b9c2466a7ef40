"""Limits and policies by name, each with its reason. Nothing here reads the environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 1 << 20
MIN_WEIGHT = 0.01
MAX_WEIGHT = 100.0
"""Weights of jobs: with others one job would get no workers, or all of them."""


LARGE_BYTES = 64 * MIB
"""From this size on, an input is large: gathering it in one task is worth a warning."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How the planner cuts."""

    parallelism: int | None = None
    """Number of partitions if a node does not say; None chooses from the input bytes."""
    split_bytes: int = 16 * MIB
    """Input bytes of a task: about 0.2 s of work on one core."""
    reduce_bytes: int = 64 * MIB
    """Input bytes of the job for each reduce partition, if no number was given."""
    single_task_bytes: int = 1 * MIB
    """A job that reads less is one task: an exchange would cost more than it saves."""
    broadcast_bytes: int = 64 * MIB
    """A join side with smaller input files may be sent completely to every task of the other."""
    copied_bytes: int = 1 * MIB
    """A smaller side is sent to any number of tasks: an exchange of the other side costs more."""
    max_partitions: int = 65_536
    """A larger number is probably mistyped."""
    fallback: Literal["silent", "warn", "raise"] = "silent"
    """What happens when an operator that is not split would gather a large input."""
    large_bytes: int = LARGE_BYTES
    """An input of fewer bytes is gathered without a word."""
    planning_s: float = 60.0
    """A plan that takes longer to cut runs whole: the rules are quadratic in a plan's depth."""


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How the scheduler decides. Times in seconds."""

    heartbeat_timeout_s: float = 10.0
    max_attempts: int = 3
    max_load_diff: int = 2
    """A worker may get a task if ``active_tasks <= min_load + max_load_diff``."""
    no_worker_grace_s: float = 60.0
    """A job without any worker for this time fails instead of waiting for ever."""
    lost_task_grace_s: float = 5.0
    """An attempt that its worker has not named for this time did not reach the worker."""
    max_stage_generations: int = 4
    """How often a stage may run because its output was lost; then the job fails."""
    max_fetch_failures: int = 100
    """Fetch failures of a job before it fails: a disk that loses blocks must not loop for ever."""
    max_task_losses: int = 10
    """Losses of a task with its worker before its job fails: the task may end the workers."""
    take_back_after_s: float = 0.5
    """An attempt that has waited behind another for this time moves to a worker with a free slot;
    with less time it would mostly start before it can be moved."""
    policy: Literal["fair", "fifo"] = "fair"
    """Which job gets the next slot: the one with the least for its weight, or the oldest."""
    speculation: bool = True
    """Run a second attempt of a straggler, and use the first that ends."""
    speculation_quantile: float = 0.75
    """Share of the tasks of a stage that must be done before others can be stragglers."""
    speculation_multiplier: float = 2.0
    """A straggler has run longer than the median of its stage by this factor."""
    speculation_min_s: float = 2.0
    """A shorter task is no straggler: a second attempt would cost more than it saves."""
    exclude_after: int = 3
    """Different tasks that must fail on a worker in a row, without a success, to exclude it."""
    exclude_s: float = 60.0
    """How long a worker is excluded: after that its disk, for example, may have room again."""
    drain_timeout_s: float = 30.0
    """How long a leaving worker may run tasks and move blocks; then it counts as lost."""
    drain_alone_s: float = 5.0
    """How long the only worker waits for another one that takes its blocks when it leaves: a
    cluster that is stopped as a whole should stop soon."""
    move_timeout_s: float = 10.0
    """If a worker has copied none of the blocks that it was asked to copy for this time, another
    worker is asked."""
    max_moves: int = 64
    """Blocks that a worker copies at a time from a leaving one: about a GB."""
    max_down_workers: int = 100
    """Lost workers that are still listed: each start of a worker may have a new name."""
    no_room_grace_s: float = 60.0
    """If every worker is full for this time and nothing runs, jobs fail with the reason."""
    max_prefetch: int = 64
    """Attempts that a worker may lease beyond its slots, so that no slot waits for a round trip;
    more would only take memory."""
    first_prefetch: int = 2
    """Prefetch depth while durations are unknown; also the minimum for short tasks."""
    prefetch_s: float = 0.5
    """Work that waits on a worker if tasks are short: some round trips of a busy master."""
    prefetch_task_s: float = 0.5
    """A stage with longer tasks prefetches nothing: a round trip is short compared to them, and
    prefetched attempts would delay other jobs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the master accepts; more is a mistake or an attack."""

    body_bytes: int = 64 * MIB
    """A plan of a client may contain its data."""
    job_bytes: int = 4 * MIB
    """A JSON job: a thousand nodes with texts of some thousand characters."""
    nodes: int = 1_000
    edges: int = 10_000
    expression_chars: int = 10_000
    expression_depth: int = 500
    """Deeper expressions end a Polars process with SIGSEGV (3,000 passes, 10,000 does not)."""
    query_tables: int = 256
    """How often the queries of a job may read tables: if each query reads the one before twice, the
    plan doubles with each. A plan of 512 takes half a minute."""
    plan_timeout_s: float = 60.0
    plan_memory_bytes: int = 4 << 30
    jobs_per_planner: int = 100
    planners: int = 3
    """One is for the shared secret; of the others, a token gets one from each address."""
    waiting_plans: int = 50
    """Jobs of one token and address that may wait for a planner; each is in memory."""
    running_jobs: int = 1_000
    reserved_jobs: int = 100
    """How many of these only the shared secret may start: holders of the submit token must not lock
    out the owner of the cluster."""
    retained_jobs: int = 200
    """Finished jobs whose results and records are kept."""


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How the master keeps its journal. Times in seconds."""

    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    """What a power cut may lose. NORMAL: the last task reports, whose tasks then run again (0.01 ms
    a commit); FULL: nothing (0.2 ms and more). Accepted jobs, commits and ends of jobs are always
    synced, and the end of the process alone loses nothing at either level."""
    batch: int = 1_000
    """Writes of one transaction: limits the time until the first of them is durable."""
    queue: int = 100_000
    """Writes that may wait for the disk; with more the master accepts nothing that needs a write:
    about 100 MB, or a minute of the busiest cluster."""
    busy_s: float = 1.0
    """How long another process may lock the database before a write fails."""
    retry_first_s: float = 0.1
    """Pause after the first failed write; it doubles with each."""
    retry_last_s: float = 2.0
    """Longest pause: the master writes again about this time after the disk has room."""
    close_s: float = 5.0
    """How long a stopping master waits for a disk that accepts no writes; then it stops as if it
    were killed."""
    snapshot_steps: int = 20_000
    """Steps of the scheduler between two snapshots: a restart replays them within seconds."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How many blocks a worker caches for later jobs."""

    memory_bytes: int = 128 * MIB
    """Limit in memory; the cache also uses at most half of the tmpfs."""
    disk_bytes: int = 4096 * MIB
    """Limit on disk: some dozen times the memory tier, a fraction of a small disk."""
    reserve: float = 0.1
    """Share of the disk, and of the memory of the machine, that stays free for running jobs."""


@dataclass(frozen=True, slots=True)
class FragmentSettings:
    """How many fragments of plans a worker keeps."""

    memory_bytes: int = 256 * MIB
    """Fragments in memory, of all jobs. The least recently used are removed first; the worker asks
    for a missing one again."""


@dataclass(frozen=True, slots=True)
class CapacitySettings:
    """When a worker accepts no more work. It still finishes what it has accepted."""

    high_water: float = 0.85
    """Share of a given limit: running tasks need the rest."""
    reserve: float = 0.05
    """Share of the disk, or of the memory, that has to be free if no limit was given. The cache
    makes room first, since its reserve is larger."""
    reserve_bytes: int = 512 * MIB
    """This is free enough, for any share: the output of a few tasks, or the memory of one."""
    relief: float = 0.05
    """A full worker has room again when it is this share below the limit."""
    last_reserve: float = 0.5
    """Share of the reserve of memory below which the executor that grew most is killed. Otherwise
    the kernel would choose, and in a container perhaps kill all processes."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a server accepts from each peer address. Times in seconds.

    All addresses of loopback are one peer.
    """

    free_failures: int = 10
    """Wrong tokens of a peer that are answered at once: an old token in a script is no attack."""
    first_pause_s: float = 0.1
    """Delay of the answer to the next wrong token; it doubles with each."""
    last_pause_s: float = 2.0
    forget_failures_s: float = 60.0
    """The failures of a peer are forgotten after this time without another."""
    held_answers: int = 32
    """Delayed answers of a peer at a time. With this many no further token of the peer is checked,
    except on loopback, where the owner and all others have the same address."""
    remembered_peers: int = 1_024
    """Peers whose failures are remembered; the oldest is forgotten first."""
    open_requests: int = 512
    """Requests and polls at a time with the worker token, or with the shared secret: three for each
    worker of a host, and half of the files that a process may usually open."""
    lesser_requests: int = 128
    """Requests at a time with any other token, and with none: each level has its own count, so that
    none uses up the requests of another level on a shared address."""
    open_streams: int = 128
    """Streams and waits at a time with any other token, counted apart from its requests."""
    connections: int = 768
    reserved_share: float = 0.25
    """Share of all connections that only workers and the shared secret may use."""
    head_s: float = 20.0
    """How long the head of a request may take to arrive."""
    body_s: float = 30.0
    """How long a body may pause."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a master or worker writes to standard error, and which lines a worker keeps."""

    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    kept_lines: int = 250
    """Lines of each level, so that many lines of `info` do not push an error out."""
    kept_chars: int = 4_000
    """Characters of a kept line: at most 4 MB for all lines of the four levels."""
