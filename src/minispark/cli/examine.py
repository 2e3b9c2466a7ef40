"""The checks of ``minispark doctor``: each result says what is, and what to fix.

WARN will be a problem one day or at some size; FAIL keeps a master or worker of this machine from
working.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil
import xxhash

from minispark import config, discovery
from minispark.blocks.cache import TMPFS
from minispark.clock import wall_s
from minispark.engines.http import MasterClient
from minispark.engines.local import available_cores
from minispark.errors import MasterUnreachableError, MinisparkError, sentence_of
from minispark.formatting import bytes_words, count_text
from minispark.observe.cluster import SystemMetrics
from minispark.plan.hashing import hash_vector
from minispark.settings import MIB
from minispark.wire.addresses import port_is_free
from minispark.wire.http import versions

_FILES = 4_096
"""A worker opens a few files for each block that a task reads, a master one for each peer."""
_TMPFS_BYTES = 256 * MIB
"""Docker's default is 64 MB: too little for a cache, and for blocks of the embedded engine."""
_FREE_BYTES = 1 << 30
_MEMORY_BYTES = 1 << 30
"""An idle executor takes 150 MB."""
_SKEW_S = 2.0
"""A larger difference of two clocks makes times in logs and tables hard to read."""
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "ceph", "9p", "glusterfs"}
_CGROUP = Path("/sys/fs/cgroup")


class CheckStatus(StrEnum):
    """How serious the result of a check is."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the report; its fields are those of ``--json``."""

    what: str
    verdict: CheckStatus
    said: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class DoctorInput:
    """The directories, ports and master to check."""

    state_dir: Path
    work_dir: Path
    ports: tuple[int, ...]
    master: str | None = None
    tmpfs: Path = TMPFS
    cgroup: Path = _CGROUP


Check = Callable[[DoctorInput], Iterator[CheckResult]]


def examine(settings: DoctorInput) -> list[CheckResult]:
    """Run all checks; a check that raises is a result too."""
    results: list[CheckResult] = []
    for check in _CHECKS:
        name = check.__name__.removeprefix("_")
        try:
            results.extend(check(settings))
        # A check that fails must not keep the rest of the report back.
        except Exception as error:
            results.append(
                CheckResult(name, CheckStatus.FAIL, f"{type(error).__name__}: {sentence_of(error)}")
            )
    return results


def _result(what: str, text: str, fix: str, *, warns: bool) -> CheckResult:
    if warns:
        return CheckResult(what, CheckStatus.WARN, text, fix)
    return CheckResult(what, CheckStatus.OK, text)


def _versions(_settings: DoctorInput) -> Iterator[CheckResult]:
    ours = versions()
    text = f"Mini-Spark {ours.minispark}, Polars {ours.polars} (plan {ours.plan[:8]}), "
    yield CheckResult("versions", CheckStatus.OK, text + f"Python {platform.python_version()}")
    digest = xxhash.xxh3_64_hexdigest(repr(hash_vector()).encode())
    text = f"{digest}, {platform.machine()}; must be the same on all machines of a cluster"
    yield CheckResult("hashes", CheckStatus.OK, text)


def _limits(_settings: DoctorInput) -> Iterator[CheckResult]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    limit = "65536" if hard == unlimited or hard >= 65_536 else str(hard)
    yield _result(
        "files",
        f"{soft if soft != unlimited else 'any number'} open",
        f"ulimit -n {limit}, where master and workers start",
        warns=soft < _FILES and soft != unlimited,
    )


def _memory(settings: DoctorInput) -> Iterator[CheckResult]:
    memory, limit = psutil.virtual_memory(), _cgroup_limit(settings.cgroup)
    total = memory.total if limit is None else min(memory.total, limit)
    text = f"{bytes_words(memory.available)} of {bytes_words(memory.total)} available"
    if limit is not None and limit < memory.total:
        text += f"; this control group may take {bytes_words(limit)}"
    fix = "Free some, or start workers with fewer --threads."
    low = min(total, memory.available) < _MEMORY_BYTES
    yield _result("memory", text, fix, warns=low)
    group = settings.cgroup / "memory.oom.group"
    if group.exists() and group.read_text().strip() == "1":
        text = "memory.oom.group is 1: when a task runs out of memory, the whole worker is killed"
        yield CheckResult("memory", CheckStatus.WARN, text, "Start workers with --memory-limit-mb.")


def _cores(_settings: DoctorInput) -> Iterator[CheckResult]:
    load = os.getloadavg()[0]
    yield CheckResult("cores", CheckStatus.OK, f"{available_cores()} usable, load {load:.1f}")


def _tmpfs(settings: DoctorInput) -> Iterator[CheckResult]:
    if not settings.tmpfs.is_dir():
        without = "Without it blocks and the cache go to the disk."
        yield CheckResult("tmpfs", CheckStatus.WARN, f"there is no {settings.tmpfs}", without)
        return
    usage = shutil.disk_usage(settings.tmpfs)
    text = f"{settings.tmpfs}: {bytes_words(usage.free)} of {bytes_words(usage.total)} free"
    fix = "Free it, or give containers more: docker run --shm-size 1g."
    yield _result("tmpfs", text, fix, warns=usage.free < _TMPFS_BYTES)


def _disk(settings: DoctorInput) -> Iterator[CheckResult]:
    for path in dict.fromkeys(_existing(p) for p in (settings.state_dir, settings.work_dir)):
        usage = shutil.disk_usage(path)
        text = f"{path}: {bytes_words(usage.free)} of {bytes_words(usage.total)} free"
        fix = "Free some, or name another with --work-dir."
        if usage.free < _FREE_BYTES // 16:
            yield CheckResult("disk", CheckStatus.FAIL, text, fix)
        else:
            yield _result("disk", text, fix, warns=usage.free < _FREE_BYTES)
    kind = _file_system(_existing(settings.state_dir))
    if kind in _NETWORK:
        text = f"the state directory is on {kind}: SQLite's journal is not safe there"
        fix = "Name a directory on a local disk with --state-dir or MINISPARK_STATE_DIR."
        yield CheckResult("disk", CheckStatus.FAIL, text, fix)


def _ports(settings: DoctorInput) -> Iterator[CheckResult]:
    for port in settings.ports:
        if port_is_free(port):
            yield CheckResult("port", CheckStatus.OK, f"{port} is free")
        elif any(master.running for master in discovery.masters_at(f"http://127.0.0.1:{port}")):
            yield CheckResult("port", CheckStatus.OK, f"{port} is taken by a master of this user")
        else:
            fix = "Choose another with --port, or stop the process that uses it."
            yield CheckResult("port", CheckStatus.WARN, f"{port} is taken", fix)


def _secret(settings: DoctorInput) -> Iterator[CheckResult]:
    state = settings.state_dir
    try:
        token = config.find_token(state)
    except (MinisparkError, OSError) as error:
        hint = error.info.hint if isinstance(error, MinisparkError) else None
        yield CheckResult("secret", CheckStatus.FAIL, sentence_of(error), hint)
        return
    if token is None:
        text = f"none in {state} yet; the first start of a master or worker makes it"
        yield CheckResult("secret", CheckStatus.OK, text)
        return
    where = str(config.token_file(state) or "MINISPARK_TOKEN")
    mode = state.stat().st_mode & 0o777 if state.is_dir() else 0o700
    if mode & 0o077:
        text = f"{state} is accessible to other users (mode {mode:o})"
        yield CheckResult("secret", CheckStatus.FAIL, text, f"chmod 700 {state}")
        return
    yield CheckResult("secret", CheckStatus.OK, f"found in {where}")


def _master(settings: DoctorInput) -> Iterator[CheckResult]:
    configured = settings.master or os.environ.get("MINISPARK_MASTER")
    running = [] if configured else discovery.running_masters()
    for master in running:
        yield from _one_master(master.url, required=True)
    if not running:
        yield from _one_master(settings.master, required=bool(configured))


def _one_master(address: str | None, *, required: bool) -> Iterator[CheckResult]:
    try:
        with MasterClient(address) as client:
            before = wall_s()
            system = SystemMetrics.model_validate(client.get_json("/api/v1/metrics/system"))
            after, url = wall_s(), client.url
            client.workers()  # This request needs the token; metrics may not.
    except MasterUnreachableError as error:
        verdict = CheckStatus.FAIL if required else CheckStatus.WARN
        yield CheckResult("master", verdict, error.info.message, error.info.hint)
        return
    except MinisparkError as error:
        yield CheckResult("master", CheckStatus.FAIL, error.info.message, error.info.hint)
        return
    text = f"{url} answers; {system.workers_up} workers up, {count_text(system.slots)} slots"
    fixes: dict[str, tuple[CheckStatus, str]] = {
        "degraded": (CheckStatus.FAIL, "Its journal cannot be written: see its disk and its log."),
        "no_workers": (CheckStatus.WARN, f"minispark worker --master {url}"),
    }
    verdict, fix = fixes.get(system.status, (CheckStatus.OK, ""))
    yield CheckResult("master", verdict, text, fix or None)
    skew_s = max(before - system.at, system.at - after, 0.0)
    text = f"{skew_s:.1f} s away from the master's"
    yield _result("clock", text, "Let NTP set the clocks of both.", warns=skew_s > _SKEW_S)


_CHECKS: tuple[Check, ...] = (
    _versions,
    _limits,
    _cores,
    _memory,
    _tmpfs,
    _disk,
    _ports,
    _secret,
    _master,
)


def _existing(path: Path) -> Path:
    """Return the path, or the nearest directory above it that exists."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def _file_system(path: Path) -> str:
    """Return the type of a directory's file system."""
    mounts = [
        (len(part.mountpoint), number, part.fstype)
        for number, part in enumerate(psutil.disk_partitions(all=True))
        if path.is_relative_to(part.mountpoint)
    ]
    return max(mounts)[2] if mounts else ""


def _cgroup_limit(cgroup: Path) -> int | None:
    """Return the memory limit of this control group (version 2), None for no limit."""
    try:
        text = (cgroup / "memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
