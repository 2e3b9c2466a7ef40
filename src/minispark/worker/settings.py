"""The configuration of a worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from minispark.settings import CacheSettings
from minispark.wire.hosts import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Configuration of a worker; its modules do not read the environment.

    With ``own_token`` the token is from the private files of this user, and is sent to no other
    user's process.
    ``advertise_host`` is the name under which the master and other workers reach this one, if it is
    not ``host``. ``ca_file`` has the certificates to trust, of the master and of other workers.
    ``auth``: metrics need no token on a loopback address only (``default``), on any address
    (``figures-open``), or on none (``all``).
    """

    master_url: str
    token: str = field(repr=False)
    """Not in the repr, because configurations get into logs."""
    own_token: bool = False
    host: str = "127.0.0.1"
    port: int = 9000
    slots: int = 1
    threads_per_slot: int = 1
    work_dir: Path
    data_root: Path | None = None
    map_blocks: bool = True
    memory_limit_bytes: int | None = None
    disk_limit_bytes: int | None = None
    task_timeout_s: float | None = None
    heartbeat_s: float = 2.0
    poll_s: float = 20.0
    insecure: bool = False
    auth: Literal["default", "figures-open", "all"] = "default"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ca_file: str | None = None
    advertise_host: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    cache: CacheSettings = field(default_factory=CacheSettings)
    """Limits of the cache for later jobs; without memory there is no cache."""

    @property
    def figures_open(self) -> bool:
        """Whether metrics may be read without a token."""
        return is_loopback(self.host) if self.auth == "default" else self.auth == "figures-open"
