"""Jobs of a master on the command line: short ids, who submitted them, again, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minispark.client import LocalCluster

from .conftest import Minispark

pytestmark = pytest.mark.process


def test_a_job_is_submitted_found_run_again_and_compared(
    minispark: Minispark, small_cluster: LocalCluster, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("to be or not to be\n")
    job = {
        "name": "words",
        "dag": {
            "nodes": [
                {"id": "read", "op": "read_text", "path": str(tmp_path / "words.txt")},
                {"id": "flat", "op": "flat_map", "fn": "tokenize"},
            ],
            "edges": [["read", "flat"]],
        },
    }
    (tmp_path / "words.json").write_text(json.dumps(job))
    known = {"MINISPARK_MASTER": small_cluster.url, "MINISPARK_TOKEN": small_cluster.token}

    first = json.loads(
        minispark("submit", "words.json", "--wait", "--json", "--user", "Ada", **known).stdout
    )
    assert (first["submitted_by"], first["access"]) == ("Ada", "root")
    short = first["job_id"].split("-", 2)[2]
    found = json.loads(minispark("status", short, "--json", **known).stdout)
    assert found["job_id"] == first["job_id"]

    again = minispark("rerun", short, "--wait", "--json", **known, MINISPARK_USER="Grace")
    second = json.loads(again.stdout)
    assert (second["name"], second["submitted_by"]) == ("words", "Grace")
    assert second["job_id"] != first["job_id"]

    ends = [view["job_id"].split("-", 2)[2] for view in (first, second)]
    compared = minispark("compare", *ends, **known)
    assert compared.returncode == 0, compared.stderr
    assert "The first job took" in compared.stdout
    assert "both plans are the same" in compared.stdout
    document = json.loads(minispark("compare", *ends, "--json", **known).stdout)
    assert [side["job_id"] for side in (document["a"], document["b"])] == [
        first["job_id"],
        second["job_id"],
    ]

    listed = minispark("jobs", **known).stdout
    assert "Ada" in listed
    assert "Grace" in listed
