"""``minispark worker``: a worker, which runs tasks in its processes and keeps their blocks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from minispark.cli.options import (
    HIDDEN,
    HOST,
    INSECURE,
    LOGS,
    MASTER,
    SERVER,
    WHO,
    Option,
    with_options,
)
from minispark.errors import UsageError

_EXAMPLE = "data/test.csv"
OPTIONS = {
    "master": MASTER,
    "host": HOST,
    "port": Option(
        9000,
        "Port that serves blocks; 0 chooses a free one.",
        also=("WORKER_PORT",),
        more={"min": 0, "max": 65_535},
    ),
    "threads": Option(
        None,
        "Number of parallel tasks, one process each. Default: one per core.",
        int,
        also=("WORKER_THREADS",),
        more={"min": 1},
    ),
    "memory_limit_mb": Option(
        None, "Memory limit for all task processes together.", int, more={"min": 1}
    ),
    "disk_limit_mb": Option(
        None,
        "Disk limit for intermediate data. Near the limit the worker stops accepting tasks.",
        int,
        more={"min": 1},
    ),
    "task_timeout": Option(
        None, "Time limit of an attempt, in seconds.", float, more={"min": 0.001}
    ),
    "cache_max_mb": Option(
        128,
        "Memory for cached rows; the rest goes to disk. 0 keeps none in memory.",
        also=("CACHE_MAX_MB",),
        more={"min": 0},
    ),
    "cache_disk_mb": Option(
        4096, "Disk for cached rows that do not fit into memory.", more={"min": 0}
    ),
    "work_dir": Option(
        None, "Directory for blocks. Default: in the state directory.", Path, more=HIDDEN
    ),
    **WHO,
    "advertise_host": Option(
        None, "Host name under which the master and other workers reach this worker.", str
    ),
    "heartbeat": Option(2.0, "Seconds between heartbeats.", more={"min": 0.05}),
    "map_blocks": Option(
        default=True,
        text="Read blocks of this machine by memory mapping, or fetch every block over HTTP.",
        flag="--map-blocks/--no-map-blocks",
    ),
    "insecure": INSECURE,
    **SERVER,
    **LOGS,
}


@with_options(OPTIONS)
def worker(
    *,
    master: str | None,
    threads: int | None,
    memory_limit_mb: int | None,
    disk_limit_mb: int | None,
    task_timeout: float | None,
    cache_max_mb: int,
    cache_disk_mb: int,
    work_dir: Path | None,
    allowed_host: list[str] | None,
    heartbeat: float,
    ca_file: Path | None,
    log_format: Any,
    log_level: Any,
    **options: Any,
) -> None:
    """Start a worker; one started before its master waits for it. Ctrl-C or SIGTERM stops it."""
    from minispark import config, discovery
    from minispark.cli.terminal import print_box
    from minispark.settings import MIB, CacheSettings, LogSettings
    from minispark.worker.server import serve
    from minispark.worker.settings import WorkerConfig

    state = config.state_dir()
    url = discovery.resolve(master) if master else discovery.find_master()
    token = discovery.find_token(url, state, create=True)
    if not token:
        msg = "there is no token for this master"
        raise UsageError(msg, hint="set MINISPARK_TOKEN to the master's token")
    slots = threads or os.cpu_count() or 1

    def print_ready(own_url: str) -> None:
        print_box(
            "Mini-Spark worker",
            [
                ("URL", own_url),
                ("master", url),
                ("slots", str(slots)),
                ("cache", _cache_line(cache_max_mb, cache_disk_mb)),
                ("next", _first_job(url)),
            ],
        )

    serve(
        WorkerConfig(
            master_url=url,
            token=token,
            own_token=not config.token_is_given(),
            slots=slots,
            work_dir=work_dir or state / "work",
            memory_limit_bytes=None if memory_limit_mb is None else memory_limit_mb * MIB,
            disk_limit_bytes=None if disk_limit_mb is None else disk_limit_mb * MIB,
            task_timeout_s=task_timeout,
            heartbeat_s=heartbeat,
            ca_file=str(ca_file) if ca_file is not None else discovery.find_ca_file(url),
            allowed_hosts=tuple(allowed_host or ()),
            cache=CacheSettings(memory_bytes=cache_max_mb * MIB, disk_bytes=cache_disk_mb * MIB),
            **options,
        ),
        # A JSON log must contain JSON only.
        on_ready=None if log_format == "json" else print_ready,
        logs=LogSettings(log_format, log_level),
    )


def _first_job(url: str) -> str:
    """Return commands that run a job, also where the example data is not there yet."""
    data = "" if Path(_EXAMPLE).exists() else "minispark data test && "
    return f"{data}minispark submit --master {url} --input {_EXAMPLE}"


def _cache_line(memory_mb: int, disk_mb: int) -> str:
    """Return the limits of the cache, and whether a small tmpfs lowers them."""
    from minispark.blocks.cache import TMPFS, memory_budget
    from minispark.settings import MIB

    if not memory_mb:
        return "off"
    budget_mb = memory_budget(TMPFS, memory_mb * MIB) // MIB
    note = f" (half of what {TMPFS} has, not {memory_mb})" if budget_mb < memory_mb else ""
    return f"{budget_mb} MB in memory{note}, {disk_mb} MB on disk"
