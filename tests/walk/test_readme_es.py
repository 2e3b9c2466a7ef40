"""What README.es.md promises: each line of its blocks of commands is run as it is written.

The tables below hold those lines, and the tests run what the tables hold; so test_every_command.py,
which compares the tables with the README, finds a line that nothing runs.

Only what a test must change is changed: the ports 8080, 9000 and 10000 stand for free ones, and the
state directory is the test's own. `make test` runs with another Python, or it would run itself. The
Docker targets run up to their first command for Docker, which is a recorder; the walk of the Docker
page can run them for real.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.walk.shell import Shell
from tests.walk.steps import makes, runs_the_suite, stops_at_docker

pytestmark = [pytest.mark.walk, pytest.mark.process, pytest.mark.timeout(900)]

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
ENDPOINTS: dict[str, Callable[[Any, Shell], bool]] = {
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
    "make docker-build": "compose build master",
    "make docker-up": "compose up -d",
    "make docker-demo": "compose up -d",
    "make docker-test": "minispark-faults compose up -d",
    "make docker-logs": "compose logs --follow --tail 100",
    "make docker-down": "compose --profile demo down --volumes",
}
"""With the first thing that each has Docker do."""
WALKED = {
    *(*BUILD, MASTER, *WORKERS, THIRD_WORKER, SUBMIT, BENCHMARK, SUITE),
    *(*DATA, *ENDPOINTS, *SCRIPTS, *DOCKER, *IN_SENTENCES),
}
"""Every line that a test here runs."""


@pytest.fixture(scope="module")
def seed(shell: Shell) -> Shell:
    """Steps 1 to 4 of the quick start: built, with data, a master and three workers."""
    for line in BUILD:
        shell.run(line)
    shell.start(MASTER, "master")
    shell.wait_for_text("master", "URL")
    for number, line in enumerate(WORKERS):
        shell.start(line, f"worker-{number}", WORKER_THREADS="1")
    third = {"WORKER_THREADS": "1", "WORKER_PORT": str(shell.third_port)}
    shell.start(THIRD_WORKER, "third", **third)
    shell.wait_for_workers(3)
    shell.job = shell.run(SUBMIT).strip()
    shell.run("target/release/client status --watch {JOB_ID}")
    return shell


# --- Quick start, data, client


def test_quick_start(seed: Shell) -> None:
    assert re.fullmatch(r"job-[0-9a-f]+-\d+-\d+", seed.job)
    assert seed.get(f"/api/v1/jobs/{seed.job}/metrics")["status"] == "SUCCEEDED"


def test_build_makes_launchers(seed: Shell) -> None:
    for name in ("master", "worker", "client"):
        assert os.access(seed.root / "target" / "release" / name, os.X_OK)
    text = (seed.root / "target" / "release" / "master").read_text()
    assert ': "${MINISPARK_STATE_DIR:=/tmp/minispark/state}"' in text
    assert "default: 8080;" in seed.run("target/release/master --help")
    assert "default: 9000;" in seed.run("target/release/worker --help")


def test_build_debug_shows_tracebacks(seed: Shell) -> None:
    seed.run("make build-debug")
    line = "target/{}/client submit no-such-job.json 2>&1"
    assert "Traceback" in seed.run(line.format("debug"), code=2)
    assert "Traceback" not in seed.run(line.format("release"), code=2)


def test_clean_leaves_the_data(tmp_path: Path, seed: Shell) -> None:
    shutil.copy(seed.root / "Makefile", tmp_path)
    for name in ("target/release", ".venv/bin", "src", "tests", "bench", "data"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data" / "mine.csv").write_text("text\n")
    seed.run(f"make -C '{tmp_path}' clean")
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / ".venv").exists()
    assert (tmp_path / "data" / "mine.csv").exists()


@pytest.mark.parametrize("line", DATA)
def test_data(seed: Shell, line: str) -> None:
    file, rows = DATA[line]
    makes(file, rows=rows)(seed, line)


def test_run_client_join(seed: Shell) -> None:
    job = seed.run("make run-client-join").strip()
    seed.run(f"target/release/client status --watch {job}")
    assert seed.get(f"/api/v1/jobs/{job}/metrics")["records"]["sales"] > 0


def test_run_client_status(seed: Shell) -> None:
    assert "SUCCEEDED" in seed.run("make run-client-status ID={JOB_ID}")
    assert "SUCCEEDED" in seed.run("ID={JOB_ID} make run-client-status")
    seed.run("make run-client-status", code=2)


def test_a_token_is_made(seed: Shell) -> None:
    assert seed.run("target/release/client token view").startswith("minispark-view-")


@pytest.mark.parametrize("what", METRICS)
def test_make_metrics(seed: Shell, what: str) -> None:
    said = seed.run(f"make metrics-{what} ID={{JOB_ID}}")
    sought = {"system": "3 up", "jobs": seed.job, "failures": "failed", "job": seed.job}[what]
    assert sought in said


# --- Endpoints, with curl as the README writes them


@pytest.mark.parametrize("line", ENDPOINTS)
def test_endpoint(seed: Shell, line: str) -> None:
    assert shutil.which("curl"), "the README's endpoints are read with curl"
    assert ENDPOINTS[line](json.loads(seed.run(line.replace("curl", "curl -fsS", 1))), seed)


# --- The benchmark


def test_benchmark_by_hand(seed: Shell) -> None:
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
def test_script(seed: Shell, line: str) -> None:
    said = seed.run(line)
    assert said.count("\nok  ") >= 3
    assert "FAILED" not in said


def test_a_script_fails_when_what_it_checks_does_not_hold(seed: Shell) -> None:
    """The checks are real: each of them is made to fail once."""
    source = "source scripts/checks.sh; "
    seed.run(f"{source} check 'it holds' true")
    seed.run(f"{source} check 'it does not' false", code=1)
    seed.run(f"{source} echo '{{\"a\": 1}}' | holds 'a' 'd[\"a\"] == 2'", code=1)
    seed.run(f"{source} DEADLINE_S=0 wait_until 'never' false", code=1)
    count = "python3 scripts/count_words.py data/test.csv"
    seed.run(f"echo 'key,value' | {count}", code=1)


def test_make_test_runs_the_suite(shell: Shell) -> None:
    runs_the_suite(shell, SUITE)


# --- Docker


@pytest.mark.parametrize("line", DOCKER)
def test_docker_line(shell: Shell, line: str) -> None:
    stops_at_docker(DOCKER[line])(shell, line)
