"""The commands that speak to a master, against real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from .conftest import FOREIGN, Minispark

pytestmark = pytest.mark.process

DEADLINE_S = 60


def own_environment(directory: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return kept | {"MINISPARK_STATE_DIR": str(directory / "state")}


class Service:
    """A ``minispark`` command that runs until a signal; its box contains its URL."""

    def __init__(self, *arguments: str, cwd: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minispark", *arguments],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(DEADLINE_S) or self.process.poll() is not None:
            self.stop()
            pytest.fail(f"{arguments} did not start:\n{''.join(self.said)}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if "╰" in line:
                self._ready.set()
        self._ready.set()

    @property
    def url(self) -> str:
        found = re.search(r"│ URL +(http\S+)", "".join(self.said))
        assert found is not None, self.said
        return found[1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@dataclass(frozen=True)
class Services:
    directory: Path
    master: Service
    workers: list[Service]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    directory = tmp_path_factory.mktemp("cluster")
    environment = own_environment(directory)
    data = directory / "data"
    data.mkdir()
    (data / "text.csv").write_text("text\n" + "to be or not to be\n" * 50)
    started: list[Service] = []

    def start(*arguments: str) -> Service:
        started.append(Service(*arguments, cwd=directory, environment=environment))
        return started[-1]

    try:
        master = start("master", "--port", "0")
        workers = [start("worker", "--port", "0", "--threads", "1") for _ in range(2)]
        yield Services(directory, master, workers)
    finally:
        for service in reversed(started):
            # With the second signal a worker does not wait until another one takes its blocks.
            service.process.send_signal(signal.SIGINT)
            service.stop()


@dataclass(frozen=True)
class Cluster:
    directory: Path
    master: Service
    workers: list[Service]
    run: Minispark


@pytest.fixture
def cluster(services: Services, minispark: Minispark, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.chdir(services.directory)
    monkeypatch.setenv("MINISPARK_STATE_DIR", str(services.directory / "state"))
    monkeypatch.delenv("MINISPARK_MASTER")
    return Cluster(services.directory, services.master, services.workers, minispark)


@pytest.fixture
def submitted(cluster: Cluster) -> Callable[..., str]:
    def submit(*arguments: str) -> str:
        ran = cluster.run("submit", "--no-wait", *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    return submit


def test_starts_show_where_they_are_and_what_to_do_next(cluster: Cluster) -> None:
    said = "".join(cluster.master.said)
    assert cluster.master.url.startswith("http://127.0.0.1:")
    assert str(cluster.directory / "state" / "token") in said
    assert f"minispark worker --master {cluster.master.url}" in said
    assert "minispark ui)" in said
    assert "minispark submit" in "".join(cluster.workers[0].said)


def test_a_named_master_is_reached_from_another_state_directory(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "other" / "token").touch(mode=0o600)
    (tmp_path / "other" / "token").write_text("the secret of another cluster")
    elsewhere = {"MINISPARK_STATE_DIR": str(tmp_path / "other")}
    address = cluster.master.url.removeprefix("http://").replace("127.0.0.1", "localhost")
    for place in (cluster.master.url, f"{cluster.master.url}/", address):
        ran = cluster.run("workers", "--json", "--master", place, **elsewhere)
        assert ran.returncode == 0, ran.stderr
        assert len(json.loads(ran.stdout)) == 2
    checked = cluster.run("doctor", "--json", "--master", address, **elsewhere)
    assert {"master": "OK"}.items() <= {
        each["what"]: each["verdict"] for each in json.loads(checked.stdout)
    }.items()
    derived = cluster.run("token", "view", "--master", address, **elsewhere).stdout.strip()
    assert derived == cluster.run("token", "view").stdout.strip()
    assert cluster.run("jobs", MINISPARK_TOKEN=derived).returncode == 0


def test_a_worker_is_not_taken_for_a_master(cluster: Cluster) -> None:
    [worker, _] = json.loads(cluster.run("workers", "--json").stdout)
    ran = cluster.run("jobs", "--master", worker["url"])
    assert (ran.returncode, "is a worker, not a master" in ran.stderr) == (2, True), ran.stderr


def test_workers_are_listed(cluster: Cluster) -> None:
    found = json.loads(cluster.run("workers", "--json").stdout)
    assert [worker["status"] for worker in found] == ["UP", "UP"]
    table = cluster.run("workers").stdout
    for worker in found:
        assert worker["worker_id"] in table


def test_words_of_an_input_are_counted(cluster: Cluster, submitted: Callable[..., str]) -> None:
    job_id = submitted("--input", "data/text.csv", "--parallelism", "3")
    waited = cluster.run("status", job_id, "--watch")
    assert waited.returncode == 0, waited.stderr
    assert "SUCCEEDED" in waited.stdout
    assert "reduce" in waited.stdout
    out = cluster.directory / "out" / "counts.parquet"
    assert cluster.run("results", job_id, "--output", str(out)).returncode == 0
    counts = dict(pl.read_parquet(out).rows())
    assert counts == Counter({"to": 100, "be": 100, "or": 50, "not": 50})


def test_results_go_to_standard_output_as_csv(
    cluster: Cluster, submitted: Callable[..., str]
) -> None:
    job_id = submitted("--input", "data/text.csv")
    cluster.run("status", job_id, "--watch")
    lines = cluster.run("results", job_id).stdout.splitlines()
    assert lines[0] == "key,value"
    assert sorted(lines[1:]) == ["be,100", "not,50", "or,50", "to,100"]


def test_waiting_shows_stages_and_figures(cluster: Cluster) -> None:
    ran = cluster.run("submit", "--input", "data/text.csv", "--wait")
    assert ran.returncode == 0, ran.stderr
    for word in ("flatmap", "reduce", "over all operators", "records/s"):
        assert word in ran.stdout
    assert "stage" in ran.stderr


def test_a_finished_job_is_json_for_scripts(cluster: Cluster) -> None:
    ran = cluster.run("submit", "--input", "data/text.csv", "--wait", "--json")
    found = json.loads(ran.stdout)
    assert found["status"] == "SUCCEEDED"
    assert found["metrics"]["input_records"] == 50
    listed = json.loads(cluster.run("jobs", "--json").stdout)
    assert found["job_id"] in {job["job_id"] for job in listed}
    one = json.loads(cluster.run("status", found["job_id"], "--json").stdout)
    assert {row["id"] for row in one["rows"]} >= {"read", "flatmap", "map", "reduce"}


def test_a_job_file_is_submitted_and_its_input_replaced(cluster: Cluster) -> None:
    job = {
        "name": "upper",
        "dag": {
            "nodes": [
                {"id": "read", "op": "read_csv", "path": "data/none.csv"},
                {"id": "words", "op": "flat_map", "fn": "tokenize"},
                {"id": "loud", "op": "map", "fn": "to_upper"},
                {"id": "count", "op": "reduce_by_key", "key": "token", "fn": "sum"},
            ],
            "edges": [["read", "words"], ["words", "loud"], ["loud", "count"]],
        },
    }
    (cluster.directory / "job.json").write_text(json.dumps(job))
    ran = cluster.run("submit", "job.json", "--input", "data/text.csv", "--wait", "--json")
    assert ran.returncode == 0, ran.stderr
    job_id = json.loads(ran.stdout)["job_id"]
    assert "BE,100" in cluster.run("results", job_id).stdout


def test_a_bad_job_is_a_usage_error_that_names_the_node(cluster: Cluster) -> None:
    job = {
        "name": "bad",
        "dag": {
            "nodes": [
                {"id": "read", "op": "read_csv", "path": "data/text.csv"},
                {"id": "words", "op": "flat_map", "fn": "tokenise"},
            ],
            "edges": [["read", "words"]],
        },
    }
    (cluster.directory / "bad.json").write_text(json.dumps(job))
    ran = cluster.run("submit", "bad.json")
    assert ran.returncode == 2
    assert "node words" in ran.stderr
    assert "tokenise" in ran.stderr


def test_a_job_that_fails_is_exit_code_1(cluster: Cluster) -> None:
    (cluster.directory / "data" / "numbers.csv").write_text("text,n\n" + "a,1\n" * 5 + "a,x\n")
    job = {
        "name": "fails",
        "dag": {
            "nodes": [
                {
                    "id": "read",
                    "op": "read_csv",
                    "path": "data/numbers.csv",
                    "schema": {"text": "String", "n": "Int64"},
                },
            ],
            "edges": [],
        },
    }
    (cluster.directory / "fails.json").write_text(json.dumps(job))
    ran = cluster.run("submit", "fails.json", "--wait")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "error[MS-" in ran.stderr
    assert "Traceback (most recent call last)" not in ran.stderr


def test_an_unknown_job_is_exit_code_1(cluster: Cluster) -> None:
    ran = cluster.run("status", "job-none")
    assert ran.returncode == 1
    assert "job-none" in ran.stderr


def test_a_job_is_stepped_through(cluster: Cluster, submitted: Callable[..., str]) -> None:
    job_id = submitted("--input", "data/text.csv", "--parallelism", "3")
    assert cluster.run("status", job_id, "--watch").returncode == 0
    done = cluster.run("replay", job_id)
    assert done.returncode == 0, done.stderr
    assert "the job was submitted: " in done.stdout
    assert "because" in done.stdout
    assert "the job SUCCEEDED" in done.stdout
    steps = json.loads(cluster.run("replay", job_id, "--json").stdout)
    assert steps[0]["running"] + steps[0]["waiting"] == 7
    assert f"step {len(steps)} of {len(steps)}" in done.stdout
    first = cluster.run("replay", job_id, "--step", "1").stdout
    assert first.startswith(f"step 1 of {len(steps)} ")
    assert first in done.stdout
    beyond = cluster.run("replay", job_id, "--step", "999")
    assert beyond.returncode == 2
    assert f"{job_id} has {len(steps)} steps" in beyond.stderr


def test_a_job_is_predicted(cluster: Cluster, submitted: Callable[..., str]) -> None:
    job_id = submitted("--input", "data/text.csv", "--parallelism", "3")
    assert cluster.run("status", job_id, "--watch").returncode == 0
    done = cluster.run("predict", job_id, "--workers", "3")
    assert done.returncode == 0, done.stderr
    assert f"{job_id} would take " in done.stdout
    assert "on 3 workers of 1 slots" in done.stdout
    found = json.loads(cluster.run("predict", job_id, "--workers", "1", "--json").stdout)
    assert sum(stage["tasks"] for stage in found["stages"]) > 1
    assert 0 < found["total_s"] < 60
    assert found["measured_s"] > 0


def test_a_job_is_cancelled(cluster: Cluster, submitted: Callable[..., str]) -> None:
    big = cluster.directory / "data" / "big.csv"
    with big.open("w") as file:
        file.write("text\n")
        for _ in range(200):
            file.write("so much text that one thread is busy with it for a while\n" * 5_000)
    job_id = submitted("--input", "data/big.csv", "--parallelism", "400")
    assert cluster.run("cancel", job_id).returncode == 0
    view = json.loads(cluster.run("status", job_id, "--watch", "--json").stdout)
    assert view["status"] == "CANCELLED"


def test_a_job_that_has_ended_is_not_called_cancelled(
    cluster: Cluster, submitted: Callable[..., str]
) -> None:
    job_id = submitted("--input", "data/text.csv")
    assert cluster.run("status", job_id, "--watch").returncode == 0
    assert "had already succeeded" in cluster.run("cancel", job_id).stdout


def test_events_are_followed_until_the_job_has_ended(
    cluster: Cluster, submitted: Callable[..., str]
) -> None:
    job_id = submitted("--input", "data/text.csv")
    ran = cluster.run("events", "--follow", "--job", job_id, "--json")
    assert ran.returncode == 0, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [event["kind"] for event in events] == ["submitted", "succeeded"]
    again = cluster.run("events", "--job", job_id)
    assert re.search(rf"{job_id} \(.+\) was submitted: .*\n.*SUCCEEDED after", again.stdout)
    assert cluster.run("events", "--job", job_id, "--follow").stdout == again.stdout
    [last] = json.loads(cluster.run("events", "--job", job_id, "--limit", "1", "--json").stdout)
    assert last == events[-1]


def test_events_are_those_that_are_asked_for(cluster: Cluster) -> None:
    [worker, _] = json.loads(cluster.run("workers", "--json").stdout)
    ran = cluster.run("events", "--worker", worker["worker_id"], "--json")
    assert {event["worker"] for event in json.loads(ran.stdout)} == {worker["worker_id"]}
    about = json.loads(cluster.run("events", "--about", "master", "--json").stdout)
    assert [event["kind"] for event in about] == ["started"]
    assert "no such events" in cluster.run("events", "--worker", "w-none").stdout
    assert cluster.run("events", "--job", "job-none").returncode == 1


def test_logs_of_one_worker_and_of_all(cluster: Cluster) -> None:
    [one, other] = json.loads(cluster.run("workers", "--json").stdout)
    ran = cluster.run("logs", one["worker_id"])
    assert re.search(rf"^\S+ \S+  info +registered .*master={cluster.master.url}", ran.stdout, re.M)
    lines = json.loads(cluster.run("logs", "--json").stdout)
    assert {line["worker_id"] for line in lines} == {one["worker_id"], other["worker_id"]}
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    nothing = cluster.run("logs", "--level", "error")
    assert (nothing.stdout, nothing.stderr) == ("", "no lines of level error or above\n")
    view = cluster.run("token", "view").stdout.strip()
    for command in (["logs"], ["logs", one["worker_id"]]):
        weak = cluster.run(*command, MINISPARK_TOKEN=view)
        assert (weak.returncode, "not enough" in weak.stderr) == (2, True), weak.stderr
    assert cluster.run("logs", "w-none").returncode == 1


def test_a_ready_made_job_runs_on_a_cluster(cluster: Cluster) -> None:
    ran = cluster.run(
        "run", "wordcount", "data/text.csv", "--engine", cluster.master.url, "--top", "2"
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"be +100", ran.stdout)
    assert "4 rows in all" in ran.stdout
    assert cluster.master.url in ran.stderr


def test_a_wrong_token_is_refused_in_a_sentence(cluster: Cluster) -> None:
    ran = cluster.run("jobs", MINISPARK_TOKEN="wrong")  # noqa: S106
    assert ran.returncode == 2
    assert "token" in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_master_and_worker_stop_cleanly(tmp_path: Path, number: int) -> None:
    environment = own_environment(tmp_path)
    master = Service("master", "--port", "0", cwd=tmp_path, environment=environment)
    try:
        worker = Service(
            "worker", "--port", "0", "--threads", "1", cwd=tmp_path, environment=environment
        )
        assert worker.stop(number) in (0, 130)
    finally:
        code = master.stop(number)
    assert code in (0, 130)
    for service in (worker, master):
        assert "Traceback" not in "".join(service.said)
    assert not (tmp_path / "state" / "master.json").exists()
