"""What a worker is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from minispark.settings import CacheSettings
from minispark.wire.hosts import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Everything a worker needs; nothing below reads the environment.

    ``token`` is kept out of the repr, since configurations end up in logs; with ``own_token`` it is
    from the private files of this user, and sent to no other user's process. ``advertise_host`` is
    the name under which master and other workers reach this one, where that is not ``host``.
    ``ca_file`` holds the certificates to trust, of the master and of other workers. ``auth``:
    ``default`` opens the figures on a loopback address only, ``figures-open`` on any, ``all`` on
    none.
    """

    master_url: str
    token: str
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
    """What is kept for later jobs; with no memory at all, nothing is."""

    @property
    def figures_open(self) -> bool:
        """Whether figures may be read without a token."""
        return is_loopback(self.host) if self.auth == "default" else self.auth == "figures-open"

    def __repr__(self) -> str:
        return f"WorkerConfig(master_url={self.master_url!r}, host={self.host!r}, port={self.port})"
