"""What the page on security and the compose file say is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from tests.security.apps import CREDENTIALS
from tests.security.test_path_sandbox import HOSTILE

from minispark.settings import ConnectionLimits, Limits
from minispark.wire.open_connections import capacity

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()


def test_every_claim_names_a_test_that_is_there() -> None:
    rows = [line for line in PAGE.splitlines() if "../tests/" in line]
    assert len(rows) > 15
    named = {path for row in rows for path in re.findall(r"\(\.\./(tests/[^)]+)\)", row)}
    assert all((ROOT / path).is_file() for path in named), named
    ours = {f"tests/security/{file.name}" for file in Path(__file__).parent.glob("test_*.py")}
    assert ours - named == {"tests/security/test_docs.py"}
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE + (ROOT / "SECURITY.md").read_text()):
        assert (ROOT / "docs" / target).exists() or (ROOT / target).exists(), target


def test_its_numbers_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 64))
    assert f"with {len(CREDENTIALS)} kinds of credentials" in PAGE
    assert f"{len(HOSTILE)} hostile paths" in PAGE
    section = PAGE.partition("\n## Limits\n")[2].partition("\n## ")[0]
    said = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", section)}
    limits, per_peer = Limits(), ConnectionLimits()
    named = {limits.body_bytes >> 20, limits.nodes, limits.edges, limits.expression_chars}
    named |= {limits.expression_depth, int(limits.plan_timeout_s), limits.plan_memory_bytes >> 30}
    named |= {limits.running_jobs, limits.reserved_jobs, limits.retained_jobs}
    named |= {limits.job_bytes >> 20, limits.query_tables, limits.planners, limits.waiting_plans}
    named |= {per_peer.lesser_requests, per_peer.open_streams, 64, capacity()}
    named |= {
        per_peer.open_requests,
        per_peer.connections,
        int(per_peer.head_s),
        int(per_peer.body_s),
    }
    assert said == named
    assert {field.name for field in fields(Limits)} >= {"nodes", "running_jobs"}


def test_containers_are_published_to_this_machine_only() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    ports = re.findall(r"^\s*ports:\s*(.*)$", text, re.MULTILINE)
    assert len(ports) >= 3
    for line in ports:
        published = re.findall(r'"([^"]+)"', line)
        assert published, line
        assert all(one.startswith("127.0.0.1:") for one in published), line
    assert not re.search(r"MINISPARK_TOKEN\s*[:=]", text)
