"""What ``minispark doctor`` looks at: each finding says how it is, and what to mend.

WARN is what will hurt one day or at some size; FAIL what keeps a master or worker of this machine
from working.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil
import xxhash

from minispark import config
from minispark.blocks.cache import TMPFS
from minispark.cli.terminal import count_text
from minispark.clock import wall_s
from minispark.engines.http import MasterClient
from minispark.errors import MasterUnreachableError, MinisparkError
from minispark.formatting import bytes_words
from minispark.observe.cluster import SystemMetrics
from minispark.plan.hashing import hash_vector
from minispark.settings import MIB
from minispark.wire.http import versions

_FILES = 4_096
"""A worker holds a few files open for each block that a task reads, a master one for each peer."""
_TMPFS_BYTES = 256 * MIB
"""Docker's default is 64 MB: too little for a cache, and for blocks of the embedded engine."""
_FREE_BYTES = 1 << 30
_MEMORY_BYTES = 1 << 30
"""An executor takes 150 MB before it has done anything."""
_SKEW_S = 2.0
"""Clocks that differ by more make times in logs and tables hard to read."""
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "ceph", "9p", "glusterfs"}
_CGROUP = Path("/sys/fs/cgroup")


class CheckStatus(StrEnum):
    """How bad it is."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the report."""

    what: str
    verdict: CheckStatus
    said: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class DoctorInput:
    """What is to be looked at."""

    state_dir: Path
    work_dir: Path
    ports: tuple[int, ...]
    master: str | None = None
    tmpfs: Path = TMPFS
    cgroup: Path = _CGROUP


Check = Callable[[DoctorInput], Iterator[CheckResult]]


def examine(patient: DoctorInput) -> list[CheckResult]:
    """Look at everything; a look that fails is a finding too."""
    found: list[CheckResult] = []
    for check in _CHECKS:
        name = check.__name__.removeprefix("_")
        try:
            found.extend(check(patient))
        # Whatever is wrong with a machine, the rest of the report must come.
        except Exception as error:
            found.append(CheckResult(name, CheckStatus.FAIL, f"{type(error).__name__}: {error}"))
    return found


def _versions(_patient: DoctorInput) -> Iterator[CheckResult]:
    ours = versions()
    said = f"Mini-Spark {ours.minispark}, Polars {ours.polars} (plan {ours.plan[:8]}), "
    yield CheckResult("versions", CheckStatus.OK, said + f"Python {platform.python_version()}")
    digest = xxhash.xxh3_64_hexdigest(repr(hash_vector()).encode())
    said = f"{digest}, {platform.machine()}; must be the same on all machines of a cluster"
    yield CheckResult("hashes", CheckStatus.OK, said)


def _limits(_patient: DoctorInput) -> Iterator[CheckResult]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    verdict = CheckStatus.OK if soft >= _FILES or soft == unlimited else CheckStatus.WARN
    room = "65536" if hard == unlimited or hard >= 65_536 else str(hard)
    mend = (
        None if verdict is CheckStatus.OK else f"ulimit -n {room}, where master and workers start"
    )
    yield CheckResult("files", verdict, f"{soft if soft != unlimited else 'any number'} open", mend)


def _memory(patient: DoctorInput) -> Iterator[CheckResult]:
    memory, limit = psutil.virtual_memory(), _cgroup_limit(patient.cgroup)
    total = memory.total if limit is None else min(memory.total, limit)
    said = f"{bytes_words(memory.available)} of {bytes_words(memory.total)} available"
    if limit is not None and limit < memory.total:
        said += f"; this control group may take {bytes_words(limit)}"
    bad = min(total, memory.available) < _MEMORY_BYTES
    mend = "Free some, or start workers with fewer --threads." if bad else None
    yield CheckResult("memory", CheckStatus.WARN if bad else CheckStatus.OK, said, mend)
    group = patient.cgroup / "memory.oom.group"
    if group.exists() and group.read_text().strip() == "1":
        said = "memory.oom.group is 1: a task that is out of memory ends its whole worker"
        yield CheckResult("memory", CheckStatus.WARN, said, "Start workers with --memory-limit-mb.")


def _cores(_patient: DoctorInput) -> Iterator[CheckResult]:
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    yield CheckResult("cores", CheckStatus.OK, f"{usable} usable, load {os.getloadavg()[0]:.1f}")


def _tmpfs(patient: DoctorInput) -> Iterator[CheckResult]:
    if not patient.tmpfs.is_dir():
        without = "Without it blocks and the cache go to the disk."
        yield CheckResult("tmpfs", CheckStatus.WARN, f"there is no {patient.tmpfs}", without)
        return
    usage = shutil.disk_usage(patient.tmpfs)
    said = f"{patient.tmpfs}: {bytes_words(usage.free)} of {bytes_words(usage.total)} free"
    bad = usage.free < _TMPFS_BYTES
    mend = "Free it, or give containers more: docker run --shm-size 1g." if bad else None
    yield CheckResult("tmpfs", CheckStatus.WARN if bad else CheckStatus.OK, said, mend)


def _disk(patient: DoctorInput) -> Iterator[CheckResult]:
    for place in dict.fromkeys(_existing(p) for p in (patient.state_dir, patient.work_dir)):
        usage = shutil.disk_usage(place)
        said = f"{place}: {bytes_words(usage.free)} of {bytes_words(usage.total)} free"
        verdict = CheckStatus.OK if usage.free >= _FREE_BYTES else CheckStatus.WARN
        if usage.free < _FREE_BYTES // 16:
            verdict = CheckStatus.FAIL
        mend = None if verdict is CheckStatus.OK else "Free some, or name another with --work-dir."
        yield CheckResult("disk", verdict, said, mend)
    kind = _file_system(_existing(patient.state_dir))
    if kind in _NETWORK:
        said = f"the state directory lies on {kind}: SQLite's journal is not safe there"
        mend = "Name a directory on a local disk with --state-dir or MINISPARK_STATE_DIR."
        yield CheckResult("disk", CheckStatus.FAIL, said, mend)


def _ports(patient: DoctorInput) -> Iterator[CheckResult]:
    ours = config.find_discovery(patient.state_dir)
    for port in patient.ports:
        if _free(port):
            yield CheckResult("port", CheckStatus.OK, f"{port} is free")
        elif ours is not None and ours.url.endswith(f":{port}"):
            yield CheckResult("port", CheckStatus.OK, f"{port} is taken by the master of this user")
        else:
            mend = "Choose another with --port, or stop what listens there."
            yield CheckResult("port", CheckStatus.WARN, f"{port} is taken", mend)


def _secret(patient: DoctorInput) -> Iterator[CheckResult]:
    state = patient.state_dir
    try:
        token = config.find_token(state)
    except (MinisparkError, OSError) as error:
        hint = error.info.hint if isinstance(error, MinisparkError) else None
        yield CheckResult("secret", CheckStatus.FAIL, str(error), hint)
        return
    if token is None:
        said = "there is none yet; the first start of a master or worker makes it"
        yield CheckResult("secret", CheckStatus.OK, said)
        return
    where = "MINISPARK_TOKEN" if os.environ.get("MINISPARK_TOKEN") else str(state / "token")
    mode = state.stat().st_mode & 0o777 if state.is_dir() else 0o700
    if mode & 0o077:
        said = f"{state} may be entered by other users (mode {mode:o})"
        yield CheckResult("secret", CheckStatus.FAIL, said, f"chmod 700 {state}")
        return
    yield CheckResult("secret", CheckStatus.OK, f"found in {where}")


def _master(patient: DoctorInput) -> Iterator[CheckResult]:
    named = patient.master or os.environ.get("MINISPARK_MASTER")
    try:
        with MasterClient(patient.master) as client:
            before = wall_s()
            system = SystemMetrics.model_validate(client.get_json("/api/v1/metrics/system"))
            after, url = wall_s(), client.url
            client.workers()  # Figures are open to anybody; this takes the token.
    except MasterUnreachableError as error:
        verdict = CheckStatus.FAIL if named else CheckStatus.WARN
        yield CheckResult("master", verdict, error.info.message, error.info.hint)
        return
    except MinisparkError as error:
        yield CheckResult("master", CheckStatus.FAIL, error.info.message, error.info.hint)
        return
    said = f"{url} answers; {system.workers_up} workers up, {count_text(system.slots)} slots"
    mends: dict[str, tuple[CheckStatus, str]] = {
        "degraded": (CheckStatus.FAIL, "Its journal cannot be written: see its disk and its log."),
        "no_workers": (CheckStatus.WARN, f"minispark worker --master {url}"),
    }
    verdict, mend = mends.get(system.status, (CheckStatus.OK, ""))
    yield CheckResult("master", verdict, said, mend or None)
    skew_s = max(before - system.at, system.at - after, 0.0)
    bad = skew_s > _SKEW_S
    yield CheckResult(
        "clock",
        CheckStatus.WARN if bad else CheckStatus.OK,
        f"{skew_s:.1f} s away from the master's",
        "Let NTP set the clocks of both." if bad else None,
    )


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


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _existing(path: Path) -> Path:
    """Return the path or the nearest directory above it that is there."""
    found = path.absolute()
    while not found.exists():
        found = found.parent
    return found


def _file_system(place: Path) -> str:
    """Return the kind of file system that a directory lies on."""
    best = ("", "")
    for part in psutil.disk_partitions(all=True):
        if place.is_relative_to(part.mountpoint) and len(part.mountpoint) >= len(best[0]):
            best = (part.mountpoint, part.fstype)
    return best[1]


def _cgroup_limit(cgroup: Path) -> int | None:
    """Return how much memory this control group may take (version 2); None for any."""
    try:
        text = (cgroup / "memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
