"""The bench on which each option of the command line is tried, and cases that commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minispark.client import LocalCluster

from .conftest import Minispark, Ran

NOWHERE = "http://127.0.0.1:9"


@dataclass
class OptionBench:
    """A directory, a command line whose default master does not answer, and a cluster."""

    directory: Path
    minispark: Minispark
    patch: pytest.MonkeyPatch
    start_cluster: Callable[[], LocalCluster]
    calls: list[Any] = field(default_factory=list)
    """What the functions got that `record` has put in place of others."""

    def run(self, *words: str) -> Ran:
        """Run a command that has to succeed."""
        ran = self.minispark(*words)
        assert ran.returncode == 0, ran.stderr
        return ran

    def refused(self, *words: str, code: int = 2) -> str:
        """Run a command that has to fail, and return what it says."""
        ran = self.minispark(*words)
        assert ran.returncode == code, ran.stderr
        return ran.stderr

    def json(self, *words: str) -> Any:
        """Run a command with ``--json`` and return the document; without, it is not JSON."""
        with pytest.raises(json.JSONDecodeError):
            json.loads(self.minispark(*words).stdout)
        return json.loads(self.run(*words, "--json").stdout)

    def record(self, target: str, result: object = None) -> None:
        """Replace a function by one that keeps its arguments and returns ``result``."""

        def recorder(*arguments: object, **options: object) -> object:
            self.calls.append(SimpleNamespace(arguments=arguments, options=options))
            return result

        self.patch.setattr(target, recorder)

    def write(self, name: str, text: str) -> str:
        """Write a file and return its path."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    @property
    def cluster(self) -> LocalCluster:
        """The cluster; from here on its token is the one that commands use."""
        cluster = self.start_cluster()
        self.patch.setenv("MINISPARK_TOKEN", cluster.token)
        return cluster

    @property
    def master(self) -> tuple[str, str]:
        """The option that names the cluster's master."""
        return "--master", self.cluster.url


Case = Callable[[OptionBench], None]
Cases = Mapping[str, Mapping[str, Case]]


def reaches_the_master(*words: str) -> Case:
    """Return the case of ``--master``: with it the command finds the cluster."""

    def case(bench: OptionBench) -> None:
        given = [replaced(bench, word) for word in words]
        bench.patch.setenv("MINISPARK_MASTER", NOWHERE)
        assert "MS-501" in bench.refused(*given, code=3)
        bench.run(*given, *bench.master)

    return case


def prints_json(*words: str, has: str | None = None) -> Case:
    """Return the case of ``--json`` for a command that asks a master; ``has`` is a field."""

    def case(bench: OptionBench) -> None:
        given = [replaced(bench, word) for word in words]
        document = bench.json(*given, *bench.master)
        assert isinstance(document, list) if has is None else has in document

    return case


def replaced(bench: OptionBench, word: str) -> str:
    """Return a word of a command line; JOB is the id of a finished job."""
    return finished_job(bench) if word == "JOB" else word


def finished_job(bench: OptionBench) -> str:
    """Return a job of the cluster that succeeded; the first case submits it."""
    cluster = bench.cluster
    name = "words for options"
    for view in cluster.client.jobs(limit=1_000):
        if view.name == name and view.status == "SUCCEEDED":
            return view.job_id
    path = cluster.directory / "words.txt"
    path.write_text("to be or\nnot to be\n")
    nodes = [
        {"id": "read", "op": "read_text", "path": str(path)},
        {"id": "flat", "op": "flat_map", "fn": "tokenize"},
        {"id": "count", "op": "reduce_by_key", "key": "token", "fn": "count"},
    ]
    edges = [["read", "flat"], ["flat", "count"]]
    job_id = cluster.client.submit_json({"name": name, "dag": {"nodes": nodes, "edges": edges}})
    assert cluster.client.wait(job_id).status == "SUCCEEDED"
    return job_id
