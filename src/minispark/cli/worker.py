"""``minispark worker``: runs tasks in processes of its own and keeps their blocks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from minispark.cli.options import (
    Auth,
    CaFile,
    DataRoot,
    LogFormat,
    LogLevel,
    Master,
    TlsCert,
    TlsKey,
)
from minispark.errors import UsageError


def worker(
    *,
    master: Master = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            envvar=["MINISPARK_WORKER_PORT", "WORKER_PORT"],
            min=0,
            max=65_535,
            help="The port for blocks; 0 takes a free one.",
        ),
    ] = 9000,
    threads: Annotated[
        int | None,
        typer.Option(
            envvar=["MINISPARK_WORKER_THREADS", "WORKER_THREADS"],
            min=1,
            help="Tasks at a time, one process each; else one per core.",
        ),
    ] = None,
    memory_limit_mb: Annotated[
        int | None, typer.Option(min=1, help="For all task processes together.")
    ] = None,
    disk_limit_mb: Annotated[
        int | None,
        typer.Option(min=1, help="For blocks of jobs: near it, the worker takes no more work."),
    ] = None,
    task_timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds an attempt may run.")
    ] = None,
    cache_max_mb: Annotated[
        int,
        typer.Option(
            envvar=["MINISPARK_WORKER_CACHE_MAX_MB", "CACHE_MAX_MB"],
            min=0,
            help="Memory for cached rows; what does not fit goes to disk. 0 keeps none.",
        ),
    ] = 128,
    cache_disk_mb: Annotated[
        int,
        typer.Option(
            envvar="MINISPARK_WORKER_CACHE_DISK_MB",
            min=0,
            help="Disk for cached rows that do not fit into memory.",
        ),
    ] = 4096,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where blocks are kept; else in the state directory.", show_default=False
        ),
    ] = None,
    auth: Auth = "default",
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="A Host name to answer to; may be repeated.")
    ] = None,
    advertise_host: Annotated[
        str | None, typer.Option(help="The name under which others reach this worker.")
    ] = None,
    heartbeat: Annotated[
        float, typer.Option(min=0.05, help="Seconds from one sign of life to the next.")
    ] = 2.0,
    map_blocks: Annotated[
        bool,
        typer.Option(
            "--map-blocks/--no-map-blocks",
            help="Map blocks of this machine, or fetch every block over HTTP.",
        ),
    ] = True,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            envvar=["MINISPARK_WORKER_INSECURE", "MINISPARK_INSECURE"],
            help="Allow clear text beyond this machine.",
        ),
    ] = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    ca_file: CaFile = None,
    data_root: DataRoot = None,
    log_format: LogFormat = "auto",
    log_level: LogLevel = "info",
) -> None:
    """Start a worker; one started before its master waits for it. Ctrl-C or SIGTERM stops it."""
    from minispark import config
    from minispark.cli.terminal import print_box
    from minispark.settings import MIB, CacheSettings, LogSettings
    from minispark.worker import serve
    from minispark.worker.settings import WorkerConfig

    state = config.state_dir()
    url = master or config.find_master()
    token = config.find_token(state, create=True)
    if not token:
        msg = "there is no token for this master"
        raise UsageError(msg, hint="set MINISPARK_TOKEN to the master's token")
    slots = threads or os.cpu_count() or 1

    def say_ready(own_url: str) -> None:
        print_box(
            "Mini-Spark worker",
            [
                ("URL", own_url),
                ("master", url),
                ("slots", str(slots)),
                ("cache", _cache_line(cache_max_mb, cache_disk_mb)),
                ("next", f"minispark submit --master {url} --input data/test.csv"),
            ],
        )

    serve(
        WorkerConfig(
            master_url=url,
            token=token,
            own_token=not config.token_is_given(),
            host=host,
            port=port,
            slots=slots,
            work_dir=work_dir or state / "work",
            data_root=data_root,
            memory_limit_bytes=None if memory_limit_mb is None else memory_limit_mb * MIB,
            disk_limit_bytes=None if disk_limit_mb is None else disk_limit_mb * MIB,
            task_timeout_s=task_timeout,
            heartbeat_s=heartbeat,
            auth=auth,
            map_blocks=map_blocks,
            insecure=insecure,
            tls_cert=tls_cert,
            tls_key=tls_key,
            ca_file=str(ca_file) if ca_file is not None else config.find_ca_file(url),
            allowed_hosts=tuple(allowed_host or ()),
            advertise_host=advertise_host,
            cache=CacheSettings(memory_bytes=cache_max_mb * MIB, disk_bytes=cache_disk_mb * MIB),
        ),
        # A log of JSON has nothing else in it.
        on_ready=None if log_format == "json" else say_ready,
        logs=LogSettings(log_format, log_level),
    )


def _cache_line(memory_mb: int, disk_mb: int) -> str:
    """Say what the cache may take, and what a small tmpfs makes of it."""
    from minispark.blocks.cache import TMPFS, memory_budget
    from minispark.settings import MIB

    if not memory_mb:
        return "off"
    budget_mb = memory_budget(TMPFS, memory_mb * MIB) // MIB
    less = f" (half of what {TMPFS} has, not {memory_mb})" if budget_mb < memory_mb else ""
    return f"{budget_mb} MB in memory{less}, {disk_mb} MB on disk"
