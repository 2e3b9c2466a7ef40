"""What README.es.md promises: each line of its blocks of commands is run as it is written.

The tables below hold those lines, and the tests run what the tables hold; so the last test, which
compares the tables with the README, finds a line that nothing runs.

Only what a test must change is changed: the ports 8080, 9000 and 10000 stand for free ones, and the
state directory is the test's own. `make test` runs with another Python, or it would run itself. The
Docker targets run for real where MINISPARK_TEST_DOCKER=1 (with BASE_IMAGE, if python:3.11-slim
cannot be pulled), and everywhere up to their first command for Docker, which is a recorder there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from minispark.settings import SchedulerSettings
from minispark.worker.settings import WorkerConfig

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DEADLINE_S = 560
FOREIGN = ("MINISPARK_", "MASTER_", "WORKER_", "CACHE_", "MAKE", "MFLAGS")
REAL_DOCKER = os.environ.get("MINISPARK_TEST_DOCKER") == "1"


def free_port(*, pair: bool = False) -> int:
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 1000 if pair else 0))
            except (OSError, OverflowError):
                continue
            return port


@dataclass
class Seed:
    """A reader of the README at work: a shell in the root of the repository."""

    directory: Path
    master_port: int = field(default_factory=free_port)
    worker_port: int = field(default_factory=lambda: free_port(pair=True))
    second_port: int = field(default_factory=lambda: free_port(pair=True))
    third_port: int = field(default_factory=lambda: free_port(pair=True))
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    job: str = ""

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        return kept | {
            "MINISPARK_STATE_DIR": str(self.directory / "state"),
            "MINISPARK_MASTER_PORT": str(self.master_port),
            "MINISPARK_MASTER": f"http://127.0.0.1:{self.master_port}",
            "WORKER_PORT": str(self.worker_port),
            "NO_COLOR": "1",
        }

    def as_here(self, line: str) -> str:
        """Put free ports in the place of those that the README names."""
        for named, here in (
            (":8080", self.master_port),
            (":10000", self.worker_port + 1000),
            ("=9001", self.second_port),
        ):
            line = line.replace(named, f"{named[0]}{here}")
        return line.replace("{JOB_ID}", self.job)

    def run(self, line: str, *, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self.as_here(line)],
            cwd=ROOT,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert ran.returncode == code, f"{line}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout

    def start(self, line: str, name: str, **environment: str) -> None:
        """Run a line that goes on until it is ended."""
        with (self.directory / f"{name}.log").open("wb") as log:
            self.running.append(
                subprocess.Popen(
                    ["bash", "-c", self.as_here(line)],
                    cwd=ROOT,
                    env=self.environment | environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.master_port}{path}") as answer:
            return json.load(answer)

    def wait_for_workers(self, count: int) -> None:
        def enough() -> bool:
            try:
                return int(self.get("/api/v1/metrics/system")["workers_up"]) >= count
            except OSError:
                return False

        wait_until(enough, self.running)

    def end(self) -> None:
        """End all that was started, and what that started. A worker, asked once, only drains."""
        for process in reversed(self.running):
            for numbers in ((signal.SIGTERM, signal.SIGINT), (signal.SIGKILL,)):
                with contextlib.suppress(ProcessLookupError):
                    for number in numbers:
                        os.killpg(process.pid, number)
                if group_ended(process):
                    break


def group_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process and its children have ended, or do so soon."""
    pause = threading.Event()
    for _ in range(100):
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        pause.wait(0.05)
    return False


def wait_until(condition: Callable[[], bool], processes: list[subprocess.Popen[bytes]]) -> None:
    pause = threading.Event()
    for _ in range(int(DEADLINE_S / 0.1)):
        if condition():
            return
        assert all(process.poll() is None for process in processes), "a service ended"
        pause.wait(0.1)
    pytest.fail("waited in vain")


# --- The lines of the README, by what runs them

BUILD = ("make build", "make create-test-data")
MASTER = "make run-master"
WORKERS = ("CACHE_MAX_MB=128 make run-worker", "WORKER_PORT=9001 make run-worker")
THIRD_WORKER = "make run-worker"
SUBMIT = "make run-client-submit"
DATA = {
    "make create-test-data": ("data/test.csv", 10),
    "make create-large-data": ("data/large.csv", 10_000),
    "make create-1m-data": ("data/benchmark_1m.csv", 1_000_000),
    "make create-join-data": ("data/sales.csv", 100_000),
}
ENDPOINTS: dict[str, Callable[[Any, Seed], bool]] = {
    "curl http://127.0.0.1:8080/api/v1/metrics/system": lambda d, _: d["workers_up"] == 3,
    "curl http://127.0.0.1:8080/api/v1/metrics/jobs": lambda d, s: (
        s.job in [job["job_id"] for job in d["jobs"]]
    ),
    "curl http://127.0.0.1:8080/api/v1/metrics/failures": lambda d, _: "by_kind" in d,
    "curl http://127.0.0.1:8080/api/v1/jobs/{JOB_ID}/metrics": lambda d, _: (
        d["records"]["read"] == 10
    ),
    "curl http://127.0.0.1:8080/api/v1/jobs/{JOB_ID}/stages": lambda d, _: (
        [row["id"] for row in d["stages"]][:4] == ["read", "flatmap", "map", "reduce"]
    ),
    "curl http://127.0.0.1:8080/api/v1/state": lambda d, s: (
        s.job in [job["job_id"] for job in d["jobs"]]
    ),
    "curl http://127.0.0.1:10000/metrics": lambda d, _: d["cpu_percent"] >= 0,
    "curl http://127.0.0.1:8080/api/v1/metrics/jobs | python3 -m json.tool": lambda d, _: d["jobs"],
}
BENCHMARK = "./target/release/client submit --input data/benchmark_1m.csv --parallelism 6"
SCRIPTS = (
    "make test-metrics",
    "make test-fault-tolerance",
    "make test-cache",
    "make test-load-balancing",
    "make test-parallel-tasks",
    "make test-round-robin",
    "scripts/benchmark_1m.sh",
)
SUITE = "make test"
METRICS = ("system", "jobs", "failures", "job")
IN_SENTENCES = {
    *("make build-debug", "make clean", "make run-client-join", "make run-client-status"),
    *(f"make metrics-{what}" for what in METRICS),
    *("make help", "make demo"),
}
"""Targets that stand in sentences only; each has a test of its own below, `demo` one elsewhere."""
DOCKER = {
    "make docker-build": "minispark compose build master",
    "make docker-up": "minispark compose up -d",
    "make docker-demo": "minispark compose up -d",
    "make docker-test": "minispark-faults compose up -d",
    "make docker-logs": "minispark compose logs --follow --tail 100",
    "make docker-down": "minispark compose --profile demo down --volumes",
}
"""With the first thing that each has Docker do: the project and its command."""
WALKED = {
    *(*BUILD, MASTER, *WORKERS, THIRD_WORKER, SUBMIT, BENCHMARK, SUITE),
    *(*DATA, *ENDPOINTS, *SCRIPTS, *DOCKER, *IN_SENTENCES),
}
"""Every line that a test here runs."""


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    """Steps 1 to 4 of the quick start: built, with data, a master and three workers."""
    seed = Seed(tmp_path_factory.mktemp("seed"))
    try:
        for line in BUILD:
            seed.run(line)
        seed.start(MASTER, "master")
        for number, line in enumerate(WORKERS):
            seed.start(line, f"worker-{number}", WORKER_THREADS="1")
        third = {"WORKER_THREADS": "1", "WORKER_PORT": str(seed.third_port)}
        seed.start(THIRD_WORKER, "third", **third)
        seed.wait_for_workers(3)
        seed.job = seed.run(SUBMIT).strip()
        seed.run("target/release/client status --watch {JOB_ID}")
        yield seed
    finally:
        seed.end()


# --- Quick start, data, client


def test_quick_start(seed: Seed) -> None:
    assert re.fullmatch(r"job-[0-9a-f]+-\d+-\d+", seed.job)
    assert seed.get(f"/api/v1/jobs/{seed.job}/metrics")["status"] == "SUCCEEDED"


def test_build_makes_launchers(seed: Seed) -> None:
    for name in ("master", "worker", "client"):
        assert os.access(ROOT / "target" / "release" / name, os.X_OK)
    text = (ROOT / "target" / "release" / "master").read_text()
    assert ': "${MINISPARK_STATE_DIR:=/tmp/minispark/state}"' in text
    assert "default: 8080;" in seed.run("target/release/master --help")
    assert "default: 9000;" in seed.run("target/release/worker --help")


def test_build_debug_shows_tracebacks(seed: Seed) -> None:
    seed.run("make build-debug")
    line = "target/{}/client submit no-such-job.json 2>&1"
    assert "Traceback" in seed.run(line.format("debug"), code=1)
    assert "Traceback" not in seed.run(line.format("release"), code=2)


def test_clean_leaves_the_data(tmp_path: Path, seed: Seed) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("target/release", ".venv/bin", "src", "tests", "bench", "data"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data" / "mine.csv").write_text("text\n")
    seed.run(f"make -C '{tmp_path}' clean")
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / ".venv").exists()
    assert (tmp_path / "data" / "mine.csv").exists()


@pytest.mark.parametrize("line", DATA)
def test_data(seed: Seed, line: str) -> None:
    file, rows = DATA[line]
    seed.run(line)
    with (ROOT / file).open("rb") as made:
        assert sum(1 for _ in made) == rows + 1


def test_run_client_join(seed: Seed) -> None:
    job = seed.run("make run-client-join").strip()
    seed.run(f"target/release/client status --watch {job}")
    assert seed.get(f"/api/v1/jobs/{job}/metrics")["records"]["sales"] > 0


def test_run_client_status(seed: Seed) -> None:
    assert "SUCCEEDED" in seed.run("make run-client-status ID={JOB_ID}")
    assert "SUCCEEDED" in seed.run("ID={JOB_ID} make run-client-status")
    seed.run("make run-client-status", code=2)


@pytest.mark.parametrize("what", METRICS)
def test_make_metrics(seed: Seed, what: str) -> None:
    said = seed.run(f"make metrics-{what} ID={{JOB_ID}}")
    sought = {"system": "3 up", "jobs": seed.job, "failures": "failed", "job": seed.job}[what]
    assert sought in said


# --- Endpoints, with curl as the README writes them


@pytest.mark.parametrize("line", ENDPOINTS)
def test_endpoint(seed: Seed, line: str) -> None:
    assert shutil.which("curl"), "the README's endpoints are read with curl"
    assert ENDPOINTS[line](json.loads(seed.run(line.replace("curl", "curl -fsS", 1))), seed)


# --- The benchmark


def test_benchmark_by_hand(seed: Seed) -> None:
    seed.run("test -s data/benchmark_1m.csv || make create-1m-data")
    job = seed.run(BENCHMARK).strip()
    seed.run(f"target/release/client status --watch {job}")
    metrics = seed.get(f"/api/v1/jobs/{job}/metrics")
    assert metrics["records"]["read"] == 1_000_000
    # read -> flatmap -> map -> shuffle -> reduce, and nothing was tried again.
    assert metrics["bytes_shuffled"] > 0
    assert metrics["retries"] == 0
    rows = seed.get(f"/api/v1/jobs/{job}/stages")["stages"]
    assert {row["id"]: row["tasks"] for row in rows if row["kind"] == "node"} == dict.fromkeys(
        ("read", "flatmap", "map", "reduce"), 6
    )


# --- Scripts, by themselves and by their targets


@pytest.mark.parametrize("line", SCRIPTS)
def test_script(seed: Seed, line: str) -> None:
    said = seed.run(line)
    assert said.count("\nok  ") >= 3
    assert "FAILED" not in said


def test_a_script_fails_when_what_it_checks_does_not_hold(seed: Seed) -> None:
    """The checks are real: each of them is made to fail once."""
    source = "source scripts/checks.sh; "
    seed.run(f"{source} check 'it holds' true")
    seed.run(f"{source} check 'it does not' false", code=1)
    seed.run(f"{source} echo '{{\"a\": 1}}' | holds 'a' 'd[\"a\"] == 2'", code=1)
    seed.run(f"{source} DEADLINE_S=0 wait_until 'never' false", code=1)
    count = "python3 scripts/count_words.py data/test.csv"
    seed.run(f"echo 'key,value' | {count}", code=1)


def recorder(path: Path, *, fails_at: str) -> None:
    """Write a program that notes how it is called; it fails when it is called in some way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        f'echo "${{COMPOSE_PROJECT_NAME:-}} $*" >> "{path}.calls"\n'
        f'case "$*" in *"{fails_at}"*) exit 7;; esac\n'
    )
    path.chmod(0o755)


def calls_of(path: Path) -> list[str]:
    return path.with_name(f"{path.name}.calls").read_text().splitlines()


def test_make_test_runs_the_suite(tmp_path: Path) -> None:
    """With a Python that notes what it is asked, or the suite would run itself."""
    python = tmp_path / "venv/bin/python"
    for fails_at, code in (("nothing", 0), ("pytest", 2)):
        recorder(python, fails_at=fails_at)
        (tmp_path / "venv/.development").touch()
        Seed(tmp_path).run(f"{SUITE} VENV={tmp_path}/venv", code=code)
    assert len(calls_of(python)) == 2
    assert all(call.startswith(" -m pytest -n ") for call in calls_of(python))


# --- Docker


@pytest.mark.parametrize("line", DOCKER)
def test_docker_line(tmp_path: Path, line: str) -> None:
    """Up to what it has Docker do first: that fails, and so does the line."""
    docker = tmp_path / "docker"
    first = DOCKER[line]
    recorder(docker, fails_at=first.partition(" compose ")[2])
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    Seed(tmp_path).run(line, code=2, environment=path)
    prepared = [call for call in calls_of(docker) if not call.endswith((" info", " version"))]
    assert prepared[0] == first


def test_compose_file() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {"master", "worker1", "worker2", "demo"} == services.keys()
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["secrets"] == ["minispark_token"]
        assert "MINISPARK_TOKEN" not in service["environment"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER minispark$", dockerfile, re.M)
    assert re.search(r"^HEALTHCHECK ", dockerfile, re.M)
    compose = shutil.which("docker-compose")
    if compose is not None:
        subprocess.run([compose, "config", "-q"], cwd=ROOT, check=True)


@pytest.mark.skipif(not REAL_DOCKER, reason="MINISPARK_TEST_DOCKER=1 runs the containers for real")
@pytest.mark.timeout(1800)
def test_docker_for_real(seed: Seed) -> None:
    base = {name: os.environ[name] for name in ("BASE_IMAGE",) if name in os.environ}
    ports = {"MASTER_PORT": "0", "WORKER1_METRICS_PORT": "0", "WORKER2_METRICS_PORT": "0"}
    apart = base | ports | {"COMPOSE_PROJECT_NAME": "minispark-seed"}
    try:
        seed.run("make docker-build", environment=apart)
        seed.run("make docker-up", environment=apart)
        assert "as plain Python counts them" in seed.run("make docker-demo", environment=apart)
    finally:
        seed.run("make docker-down", environment=apart)
    assert "every result was right" in seed.run("make docker-test", environment=base)


# --- What the README says of the parts


def test_numbers_of_the_architecture() -> None:
    defaults = SchedulerSettings()
    assert defaults.heartbeat_timeout_s == 10
    assert defaults.max_attempts == 3
    assert defaults.max_load_diff == 2
    worker = WorkerConfig(master_url="http://127.0.0.1:8080", token="t" * 8, work_dir=Path())
    assert worker.heartbeat_s == 2
    assert worker.port == 9000


def test_help_lists_every_target_that_is_promised(seed: Seed) -> None:
    listed = set(re.findall(r"^  make ([\w-]+)", seed.run("make help"), re.M))
    promised = set(re.findall(r"`make ([\w-]+)", (ROOT / "README.es.md").read_text()))
    walked = {found[1] for line in WALKED if (found := re.search(r"\bmake ([\w-]+)", line))}
    assert promised == walked
    assert promised <= listed


def test_every_line_of_the_readme_is_walked() -> None:
    """What stands in the README's blocks of commands is what the tests above run."""
    text = (ROOT / "README.es.md").read_text()
    blocks = re.findall(r"^ *```(?:sh|bash)\n(.*?)^ *```", text, re.M | re.S)
    lines = {
        line.split("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line.strip() and not line.strip().startswith("#")
    }
    assert lines - WALKED == set()
