"""``minispark master``: the master of a cluster."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, Literal

from minispark.cli.options import HIDDEN, HOST, INSECURE, LOGS, SERVER, WHO, Option, with_options
from minispark.settings import JournalSettings, LogSettings, SchedulerSettings

_DEFAULTS = SchedulerSettings()
_SCHEDULER = {
    "max_load_diff": "max_load_diff",
    "heartbeat_timeout": "heartbeat_timeout_s",
    "worker_grace": "no_worker_grace_s",
    "policy": "policy",
    "speculation": "speculation",
}
"""Options that are settings of the scheduler, with the field of each."""
_WORKER_PORT = 9000
_PORTS_TRIED = 50
OPTIONS = {
    "host": HOST,
    "port": Option(
        8080, "Port to listen on; 0 chooses a free one.", more={"min": 0, "max": 65_535}
    ),
    "state_dir": Option(None, "Where jobs and the secret are kept.", Path, more=HIDDEN),
    "token_file": Option(
        None, "File with the shared secret. Default: created in the state directory.", Path
    ),
    **WHO,
    "public_url": Option(
        None,
        "The address for browsers, if host and port are not (a published port, a proxy).",
        str,
        more=HIDDEN | {"metavar": "URL"},
    ),
    "insecure": INSECURE,
    **SERVER,
    "max_load_diff": Option(
        _DEFAULTS.max_load_diff,
        "How many more tasks a worker may have than the least loaded one.",
        more={"min": 0},
    ),
    "heartbeat_timeout": Option(
        _DEFAULTS.heartbeat_timeout_s,
        "Seconds without a heartbeat after which a worker is DOWN.",
        more={"min": 0.1},
    ),
    "worker_grace": Option(
        _DEFAULTS.no_worker_grace_s,
        "How long (in seconds) a job waits for a worker before it fails.",
        more={"min": 0.0},
    ),
    "policy": Option(
        _DEFAULTS.policy,
        "Scheduling: fair (jobs share workers) or fifo (oldest job first).",
        Literal["fair", "fifo"],
    ),
    "speculation": Option(
        _DEFAULTS.speculation,
        "Start a second attempt of a task that runs much longer than the others of its stage.",
        flag="--speculation/--no-speculation",
    ),
    "synchronous": Option(
        "normal",
        "Durability after a power failure: normal may lose recent task reports (tasks rerun); "
        "full loses nothing.",
        Literal["normal", "full"],
    ),
    "otlp": Option(
        None,
        "URL of a collector that receives a trace of each job (OTLP over HTTP).",
        str,
        also=("OTEL_EXPORTER_OTLP_ENDPOINT",),
        more={"metavar": "URL"},
    ),
    **LOGS,
}


@with_options(OPTIONS)
def master(
    *,
    state_dir: Path | None,
    allowed_host: list[str] | None,
    public_url: str | None,
    synchronous: str,
    log_format: Any,
    log_level: Any,
    **options: Any,
) -> None:
    """Start a master; Ctrl-C or SIGTERM stops it. After a restart it continues all jobs."""
    from minispark import config
    from minispark.cli.terminal import print_box

    # Imports create no garbage, and searching for it takes a sixth of the start.
    gc.disable()
    from minispark.master import serve
    from minispark.master.settings import MasterConfig
    from minispark.wire.addresses import master_url

    gc.enable()
    state, token_file = state_dir or config.state_dir(), options["token_file"]
    if token_file is not None:
        token: str | None = config.read_token_file(token_file)
    else:
        token, token_file = config.find_token(state, create=True), config.token_file(state)
    options["token_file"] = token_file

    def print_ready(url: str, link: str) -> None:
        print_box(
            "Mini-Spark master",
            [
                ("URL", url),
                ("web page", f"{link}  (opens once; another: minispark ui{_named(url)})"),
                ("token", str(token_file or "that of MINISPARK_TOKEN")),
                ("next", f"minispark worker --master {url} --port {_free_worker_port()}"),
            ],
        )

    scheduler = SchedulerSettings(
        **{field: options.pop(name) for name, field in _SCHEDULER.items()}
    )
    serve(
        MasterConfig(
            state_dir=state,
            token=token or "",
            discovery_dir=_registry(token_file),
            allowed_hosts=tuple(allowed_host or ()),
            public_url=None if public_url is None else master_url(public_url),
            scheduler=scheduler,
            journal=JournalSettings(synchronous="FULL" if synchronous == "full" else "NORMAL"),
            **options,
        ),
        # A JSON log must contain JSON only.
        on_ready=None if log_format == "json" else print_ready,
        logs=LogSettings(log_format, log_level),
    )


def _named(url: str) -> str:
    """Return the option that names this master; none if a command finds it without."""
    from minispark import discovery
    from minispark.errors import UsageError

    try:
        return "" if discovery.find_master() == url else f" --master {url}"
    except UsageError:
        return f" --master {url}"


def _registry(token_file: Path | None) -> Path | None:
    """Return where programs with other settings find this master; None if they cannot use it."""
    from minispark import config

    isolated = token_file is None and config.state_dir() != config.user_dir()
    return None if isolated else config.user_dir()


def _free_worker_port() -> int:
    """Return a port that a worker can take: the first one may have a worker already."""
    from minispark.wire.addresses import port_is_free

    ports = range(_WORKER_PORT, _WORKER_PORT + _PORTS_TRIED)
    free = (port for port in ports if port_is_free(port) and port_is_free(port + 1000))
    return next(free, 0)
