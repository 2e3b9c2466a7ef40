"""The configuration of a master."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from minispark.errors import UsageError
from minispark.settings import (
    ConnectionLimits,
    JournalSettings,
    Limits,
    PlanSettings,
    SchedulerSettings,
)
from minispark.tls import check_certificate
from minispark.tokens import Level, derive
from minispark.wire.hosts import is_loopback

_PLANNER = (sys.executable, "-m", "minispark.jobs.planner_child")


@dataclass(frozen=True, slots=True)
class MasterConfig:
    """Configuration of a master. Port 0 means any free port.

    ``auth``: metrics need no token on a loopback address only (``default``), on any address
    (``figures-open``), or on none (``all``). ``ca_file`` has the certificates of workers to trust;
    by default it is the master's own. ``discovery_dir`` is the state directory of the user, where
    clients of this user look for masters; None shows this master in ``state_dir`` only.
    """

    state_dir: Path
    token: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    allowed_hosts: tuple[str, ...] = ()
    public_url: str | None = None
    """Address for browsers, if host and port are not (a published port, a proxy)."""
    insecure: bool = False
    auth: Literal["default", "figures-open", "all"] = "default"
    data_root: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ca_file: Path | None = None
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    limits: Limits = field(default_factory=Limits)
    journal: JournalSettings = field(default_factory=JournalSettings)
    connection_limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    token_file: Path | None = None
    """File of the token, for the discovery file; None if the token is in no file."""
    discovery_dir: Path | None = None
    otlp: str | None = None
    """Address that traces of jobs are sent to, over OTLP/HTTP."""
    planner_command: tuple[str, ...] = _PLANNER

    @property
    def trusted(self) -> str | None:
        """File of the certificates of workers to trust; None trusts those of the system."""
        chosen = self.ca_file or self.tls_cert
        return None if chosen is None else str(chosen)

    @property
    def spool_dir(self) -> Path:
        """Directory of files for downloads; emptied at each start."""
        return self.state_dir / "spool"

    @property
    def figures_open(self) -> bool:
        """Whether metrics, which have no data, may be read without a token."""
        return is_loopback(self.host) if self.auth == "default" else self.auth == "figures-open"


def check_config(config: MasterConfig) -> None:
    """Check that a configuration is safe.

    Raises
    ------
    UsageError
        There is no token, no usable certificate, or clear text on an address that others reach.
    """
    if not config.token:
        msg = "a master requires a token"
        raise UsageError(msg, code="MS-105")
    # Raises for a token that is not the shared secret.
    derive(config.token, Level.VIEW)
    check_certificate(config.tls_cert, config.tls_key)
    if not is_loopback(config.host) and config.tls_cert is None and not config.insecure:
        msg = f"on {config.host} the token and all data would be sent unencrypted"
        raise UsageError(
            msg,
            code="MS-107",
            hint="Give --tls-cert and --tls-key, or --insecure if you trust the network.",
        )
