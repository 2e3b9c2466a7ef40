"""``minispark master``: takes jobs and hands out their tasks."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated, Literal

import typer

from minispark.cli.options import Auth, CaFile, DataRoot, LogFormat, LogLevel, TlsCert, TlsKey
from minispark.settings import JournalSettings, LogSettings, SchedulerSettings

_DEFAULTS = SchedulerSettings()


def master(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The port; 0 takes a free one.")
    ] = 8080,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Where jobs and the secret are kept.", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file that holds the shared secret; else made and found.")
    ] = None,
    auth: Auth = "default",
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="A Host name to answer to; may be repeated.")
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            envvar=["MINISPARK_MASTER_INSECURE", "MINISPARK_INSECURE"],
            help="Allow clear text beyond this machine.",
        ),
    ] = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    ca_file: CaFile = None,
    data_root: DataRoot = None,
    max_load_diff: Annotated[
        int,
        typer.Option(min=0, help="Tasks that a worker may have more than the least loaded one."),
    ] = _DEFAULTS.max_load_diff,
    heartbeat_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds of silence after which a worker is DOWN.")
    ] = _DEFAULTS.heartbeat_timeout_s,
    worker_grace: Annotated[
        float, typer.Option(min=0.0, help="Seconds that a job waits where there is no worker.")
    ] = _DEFAULTS.no_worker_grace_s,
    policy: Annotated[
        Literal["fair", "fifo"],
        typer.Option(help="Whose task is next: jobs share the workers, or the oldest job's."),
    ] = _DEFAULTS.policy,
    speculation: Annotated[
        bool,
        typer.Option(
            "--speculation/--no-speculation",
            help="Start a second attempt of a task that takes much longer than its like.",
        ),
    ] = _DEFAULTS.speculation,
    synchronous: Annotated[
        Literal["normal", "full"],
        typer.Option(help="What a power cut may cost: the last reports of tasks, or nothing."),
    ] = "normal",
    otlp: Annotated[
        str | None,
        typer.Option(
            envvar=["MINISPARK_MASTER_OTLP", "OTEL_EXPORTER_OTLP_ENDPOINT"],
            metavar="URL",
            help="A collector that gets a trace of each job (OTLP over HTTP).",
        ),
    ] = None,
    log_format: LogFormat = "auto",
    log_level: LogLevel = "info",
) -> None:
    """Start a master; Ctrl-C or SIGTERM stops it. Started again it goes on with all jobs."""
    from minispark import config
    from minispark.cli.terminal import print_box

    # All that an import makes stays: to look through it for garbage takes a sixth of the start.
    gc.disable()
    from minispark.master import serve
    from minispark.master.settings import MasterConfig

    gc.enable()
    state = state_dir or config.state_dir()
    token = (
        config.read_token_file(token_file)
        if token_file is not None
        else config.find_token(state, create=True)
    )

    def say_ready(url: str, link: str) -> None:
        print_box(
            "Mini-Spark master",
            [
                ("URL", url),
                ("web page", f"{link}  (opens once; another: minispark ui)"),
                ("token", str(token_file or config.token_place(state))),
                ("next", f"minispark worker --master {url} --port 9000"),
            ],
        )

    serve(
        MasterConfig(
            host=host,
            port=port,
            state_dir=state,
            token=token or "",
            token_file=token_file,
            discovery_dir=config.state_dir(),
            auth=auth,
            allowed_hosts=tuple(allowed_host or ()),
            insecure=insecure,
            tls_cert=tls_cert,
            tls_key=tls_key,
            ca_file=ca_file,
            data_root=data_root,
            otlp=otlp,
            scheduler=SchedulerSettings(
                max_load_diff=max_load_diff,
                heartbeat_timeout_s=heartbeat_timeout,
                no_worker_grace_s=worker_grace,
                policy=policy,
                speculation=speculation,
            ),
            journal=JournalSettings(synchronous="FULL" if synchronous == "full" else "NORMAL"),
        ),
        # A log of JSON has nothing else in it.
        on_ready=None if log_format == "json" else say_ready,
        logs=LogSettings(log_format, log_level),
    )
