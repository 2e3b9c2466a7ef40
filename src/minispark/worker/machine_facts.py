"""What a worker says of its machine and its limits when it registers."""

from __future__ import annotations

import os
import platform
import shutil
import socket

from minispark.blocks.cache import BlockCache
from minispark.blocks.memory import read_memory
from minispark.blocks.store import BlockStore
from minispark.wire.messages import WorkerFacts
from minispark.worker.settings import WorkerConfig

_MAX_NAME = 200


def facts_of(config: WorkerConfig, store: BlockStore, cache: BlockCache | None) -> WorkerFacts:
    """Return the facts of this worker."""
    memory = read_memory()
    return WorkerFacts(
        host=socket.gethostname()[:_MAX_NAME],
        system=f"{platform.system()} {platform.release()} {platform.machine()}"[:_MAX_NAME],
        cores=_cores(),
        threads_per_slot=config.threads_per_slot,
        machine_memory_bytes=0 if memory is None else memory.total_bytes,
        memory_limit_bytes=config.memory_limit_bytes,
        disk_bytes=shutil.disk_usage(store.directory).total,
        disk_limit_bytes=config.disk_limit_bytes,
        cache_memory_limit_bytes=0 if cache is None else cache.settings.memory_bytes,
        cache_disk_limit_bytes=0 if cache is None else cache.settings.disk_bytes,
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
