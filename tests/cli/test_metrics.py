"""Figures of a real cluster: over REST, for Prometheus, and as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from minispark.cli.outputs import OUTPUT_ENDINGS
from minispark.client import LocalCluster
from minispark.clock import monotonic_s

from .conftest import Minispark, Ran

pytestmark = pytest.mark.process

DEADLINE_S = 60
LINES = 40_000
JOB = {
    "name": "words",
    "dag": {
        "nodes": [
            {"id": "read", "op": "read_csv", "path": "words.csv", "partitions": 4},
            {"id": "flat", "op": "flat_map", "fn": "tokenize"},
            {"id": "agg", "op": "reduce_by_key", "key": "token", "fn": "sum"},
        ],
        "edges": [["read", "flat"], ["flat", "agg"]],
    },
    "parallelism": 2,
}


class Watched:
    """A cluster that has run one job that ended well and one that could not."""

    def __init__(self, cluster: LocalCluster, directory: Path) -> None:
        self.cluster = cluster
        self.client = cluster.client
        self.good = self.client.submit_json(JOB)
        self.client.wait(self.good)
        bad = directory / "bad.csv"
        bad.write_text("a\n1\nx\n")
        read = {"id": "r", "op": "read_csv", "path": "bad.csv", "schema": {"a": "Int64"}}
        self.bad = self.client.submit_json({"name": "bad", "dag": {"nodes": [read], "edges": []}})
        self.client.wait(self.bad)

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = monotonic_s() + DEADLINE_S
        while not holds():
            assert monotonic_s() < deadline

    def figures_url(self, worker: int = 0) -> str:
        """Where the figures of a worker are; its log says so."""
        log = self.cluster.workers[worker].log.read_text()
        started = next(json.loads(line) for line in log.splitlines() if "worker_started" in line)
        return str(started["metrics_url"])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    directory = tmp_path_factory.mktemp("watched")
    text = "text\n" + "to be or not to be\n" * LINES
    (directory / "words.csv").write_text(text)
    with LocalCluster(2, data_root=directory) as cluster:
        yield Watched(cluster, directory)


@pytest.fixture
def ask(minispark: Minispark, watched: Watched) -> Callable[..., Ran]:
    def run(*arguments: str) -> Ran:
        return minispark(
            *arguments,
            MINISPARK_MASTER=watched.cluster.url,
            MINISPARK_TOKEN=watched.cluster.token,
            COLUMNS="200",
        )

    return run


def test_a_worker_says_what_it_did(watched: Watched) -> None:
    def reported() -> bool:
        system = watched.client.get_json("/api/v1/metrics/system")
        done = [worker["tasks_done"] for worker in system["workers"]]
        return bool(all(done) and sum(done) == system["totals"]["tasks_done"])

    watched.until(reported)
    system = watched.client.get_json("/api/v1/metrics/system")
    assert (system["workers_up"], system["slots"], system["status"]) == (2, 2, "ok")
    for worker in system["workers"]:
        latency = worker["latency"]
        assert 0 < latency["p50_s"] <= latency["p95_s"] <= latency["p99_s"] < DEADLINE_S
        assert worker["memory_bytes"] > 10_000_000
    assert system["totals"]["input_records"] == LINES


def test_a_job_shares_the_time_of_its_stages(watched: Watched) -> None:
    metrics = watched.client.metrics(watched.good)
    rows = {row.id: row for row in watched.client.stages(watched.good)}
    nodes = {node.id: node for node in metrics.nodes}
    assert [nodes[n].records_out for n in ("read", "flat", "agg")] == [LINES, 6 * LINES, 4]
    assert metrics.throughput_input_records_s > 0
    assert metrics.throughput_all_records_s > metrics.throughput_input_records_s
    assert "flat" in nodes["read"].fused_with
    # The times of nodes add up to those of their stages.
    named = {stage for node in nodes.values() for stage in node.stages}
    stages = sum(rows[stage].duration_s or 0.0 for stage in named)
    assert sum(node.duration_s or 0.0 for node in nodes.values()) == pytest.approx(stages, abs=1e-4)
    assert metrics.bytes_shuffled > 0
    took = {row.id: row.task_time_s for row in rows.values() if row.kind == "stage"}
    shared = sum(node.task_time_s for node in nodes.values())
    assert shared == pytest.approx(sum(took[stage] for stage in named), abs=1e-4)
    # A stage that belongs to no node counts for the job all the same.
    assert metrics.task_time_s == pytest.approx(sum(took.values()), abs=1e-4)


def test_prometheus_reads_master_and_workers(watched: Watched) -> None:
    accept = {"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
    for url in (f"{watched.cluster.url}/metrics", f"{watched.figures_url()}/metrics"):
        answer = httpx2.get(url, headers=accept, trust_env=False)
        assert answer.status_code == 200
        families = {f.name: f for f in text_string_to_metric_families(answer.text)}
        (up, *_) = families["minispark_worker_up"].samples
        assert up.value == 1
    assert httpx2.get(url, trust_env=False).json()["worker_id"] == up.labels["worker"]


@pytest.mark.parametrize("what", ["system", "jobs", "failures"])
def test_metrics_as_tables_and_json(ask: Callable[..., Ran], watched: Watched, what: str) -> None:
    shown = ask("metrics", what)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(ask("metrics", what, "--json").stdout)
    match what:
        case "system":
            assert found["workers_up"] == 2
            assert "2 up, 0 draining, 0 down" in shown.stdout
            assert found["workers"][0]["worker_id"] in shown.stdout
        case "jobs":
            assert {row["job_id"] for row in found["jobs"]} == {watched.good, watched.bad}
            assert "1 succeeded" in shown.stdout
            assert watched.good in shown.stdout
        case _:
            assert (found["by_kind"]["task_error"], found["jobs_failed"]) == (1, 1)
            assert found["jobs"][0]["code"] in shown.stdout


def test_metrics_of_a_job(ask: Callable[..., Ran], watched: Watched) -> None:
    shown = ask("metrics", "job", watched.good)
    assert "Fused operators run as one query" in shown.stdout
    assert f"{6 * LINES:,}" in shown.stdout
    assert json.loads(ask("metrics", "job", watched.good, "--json").stdout)["retries"] == 0
    gone = ask("metrics", "job", "job-x")
    assert (gone.returncode, "MS-140" in gone.stderr) == (1, True)


def test_metrics_of_a_worker(ask: Callable[..., Ran], watched: Watched) -> None:
    name = str(watched.client.workers()[0]["worker_id"])
    about = json.loads(ask("metrics", "worker", name, "--json").stdout)
    assert (about["worker_id"], about["cores"] > 0) == (name, True)
    known = ask("metrics", "worker", name).stdout
    assert about["python"] in known
    assert "no limit" in known
    url = watched.figures_url()
    shown = ask("metrics", "worker", url)
    assert "tasks done" in shown.stdout
    wrong = ask("metrics", "worker", name[:-1] + "~")
    assert (wrong.returncode, f"did you mean '{name}'" in wrong.stderr) == (1, True)
    port = urlsplit(url).port or 0
    lost = ask("metrics", "worker", f"http://127.0.0.1:{1 if port != 1 else 2}")
    assert (lost.returncode, "port plus 1000" in lost.stderr) == (3, True)
    no_worker = ask("metrics", "worker", watched.cluster.url)
    assert (no_worker.returncode, "does not serve a worker's" in no_worker.stderr) == (2, True)


def test_a_mistyped_job_suggests_the_nearest(ask: Callable[..., Ran], watched: Watched) -> None:
    for command in (("status",), ("cancel",), ("results",), ("metrics", "job")):
        wrong = ask(*command, watched.good.replace("job-", "jbo-"))
        assert (wrong.returncode, f"did you mean '{watched.good}'" in wrong.stderr) == (1, True)


def test_the_ending_of_a_file_is_its_format_and_force_replaces_it(
    ask: Callable[..., Ran], watched: Watched, tmp_path: Path
) -> None:
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".csv": pl.read_csv,
        ".jsonl": pl.read_ndjson,
        ".ndjson": pl.read_ndjson,
        ".parquet": pl.read_parquet,
        ".arrow": pl.read_ipc,
        ".ipc": pl.read_ipc,
        ".feather": pl.read_ipc,
    }
    assert readers.keys() == OUTPUT_ENDINGS.keys()
    frames = []
    for ending, reader in readers.items():
        path = tmp_path / "out" / f"rows{ending}"
        ran = ask("results", watched.good, "--output", str(path))
        assert ran.returncode == 0, ran.stderr
        frames.append(reader(path))
    assert all(frame.rows() == frames[0].rows() for frame in frames)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"rows{ending}" for ending in readers}, "no temporary file stays"
    again = ask("results", watched.good, "--output", str(path))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    assert ask("results", watched.good, "--output", str(path), "--force").returncode == 0
    unknown = ask("results", watched.good, "--output", str(tmp_path / "rows.xlsx"))
    assert (unknown.returncode, "Endings are: .csv" in unknown.stderr) == (2, True)


def test_results_and_cancel_as_json(ask: Callable[..., Ran], watched: Watched) -> None:
    where = json.loads(ask("results", watched.good, "--json").stdout)
    assert [(node["node"], node["rows"]) for node in where["nodes"]] == [("agg", 4)]
    ended = json.loads(ask("cancel", watched.good, "--json").stdout)
    assert (ended["job_id"], ended["status"]) == (watched.good, "SUCCEEDED")
