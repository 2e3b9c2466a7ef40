"""Whatever the OpenAPI document allows, and some that it does not, is answered as it says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case as GenericCase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.control import SkipTest
from schemathesis.core.result import Err, Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from minispark.client.local_cluster import LocalCluster
from minispark.wire.http import auth_headers

Case = GenericCase[Any]
Operation = APIOperation[Any, Any, Any, Any]

pytestmark = pytest.mark.process

EXAMPLES = 20
"""Of each operation and kind: about 20 seconds in all."""
OPEN = re.compile(
    r"/healthz|/metrics|/api/v1/state|/api/v1/metrics/\w+|/api/v1/jobs/{job_id}/(metrics|stages)"
)
"""Figures, which may be read without a token."""
JOB = {
    "name": "counted",
    "dag": {
        "nodes": [
            {"id": "read", "op": "read_text", "path": "x.txt"},
            {"id": "words", "op": "flat_map", "fn": "tokenize"},
            {"id": "sum", "op": "reduce_by_key", "key": "token", "fn": "sum"},
        ],
        "edges": [["read", "words"], ["words", "sum"]],
    },
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalCluster, str]]:
    """A master with a job that has ended."""
    root = tmp_path_factory.mktemp("data")
    (root / "x.txt").write_text("to be or not to be\n")
    with LocalCluster(1, data_root=root) as running:
        job = running.client.submit_json(JOB)
        running.client.wait(job)
        yield running, job


def operations(url: str, mode: GenerationMode) -> list[Operation]:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    schema.config.generation.update(modes=[mode])
    found = list(schema.get_all_operations())
    assert not [wrong for wrong in found if isinstance(wrong, Err)]
    return [operation.ok() for operation in found if isinstance(operation, Ok)]


def known(draw: Callable[[st.SearchStrategy[int]], int], case: Case, job: str) -> Case:
    """Let most calls be about a job that is there."""
    if "job_id" in (case.path_parameters or {}) and draw(st.integers(0, 2)):
        case.path_parameters["job_id"] = job
    if case.query and "wait_s" in case.query:
        case.query["wait_s"] = "0"
    return case


def explore(
    operation: Operation,
    check: Callable[[Case], None],
    *,
    job: str,
    mode: GenerationMode,
    examples: int,
) -> None:
    """Make calls of one operation until there are so many examples."""

    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def call(case: Case, data: st.DataObject) -> None:
        check(known(data.draw, case, job))

    # Of an operation without parameters there is nothing wrong to be made.
    with suppress(SkipTest):
        call()


CHECKS = [
    *(not_a_server_error, status_code_conformance),
    *(content_type_conformance, response_schema_conformance),
]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_with_the_token(cluster: tuple[LocalCluster, str], mode: GenerationMode) -> None:
    """No answer of 500 and more, and none that the document does not tell of."""
    running, job = cluster
    seen: Counter[int] = Counter()
    headers = auth_headers(running.token)
    with requests.Session() as session:
        session.trust_env = False

        def check(case: Case) -> None:
            reply = case.call(session=session, headers=headers, timeout=30)
            seen[reply.status_code] += 1
            case.validate_response(reply, checks=CHECKS)

        for operation in operations(running.url, mode):
            explore(operation, check, job=job, mode=mode, examples=EXAMPLES)
    assert seen[200 if mode is GenerationMode.POSITIVE else 422] > 50, seen
    assert running.client.job(job).status.value == "SUCCEEDED"


def test_without_it(cluster: tuple[LocalCluster, str]) -> None:
    """Figures only, and no change of anything."""
    running, job = cluster
    before = [view.job_id for view in running.client.jobs()]
    with requests.Session() as session:
        session.trust_env = False

        def check(case: Case) -> None:
            reply = case.call(session=session, timeout=30)
            if case.method.upper() in ("GET", "HEAD") and OPEN.fullmatch(case.path):
                assert reply.status_code < 500
            else:
                assert reply.status_code == 401, (case.method, case.path)

        for operation in operations(running.url, GenerationMode.POSITIVE):
            explore(operation, check, job=job, mode=GenerationMode.POSITIVE, examples=3)
    assert [view.job_id for view in running.client.jobs()] == before
    assert running.client.job(job).status.value == "SUCCEEDED"


def test_the_document_is_whole(cluster: tuple[LocalCluster, str]) -> None:
    """Each operation says how it fails, and no part of the inside is in it."""
    running, _ = cluster
    paths = requests.get(f"{running.url}/openapi.json", timeout=30).json()["paths"]
    assert len(paths) >= 10
    for path, methods in paths.items():
        assert not path.startswith("/internal")
        for method, operation in methods.items():
            assert {"401", "403", "422"} <= set(operation["responses"]), (method, path)
