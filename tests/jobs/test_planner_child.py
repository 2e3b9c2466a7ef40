"""The planner process: what it answers, and that nothing but its parent ends it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from polars.exceptions import PanicException
from tests.jobs.job_kit import Job, chain
from tests.runners.inline import run_inline

from minispark.jobs.planner_child import answer
from minispark.settings import PlanSettings
from minispark.wire.messages import GraphMessage


class Child:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minispark.jobs.planner_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def ask(self, request: bytes) -> dict[str, Any]:
        self.stdin.write(len(request).to_bytes(4, "big") + request)
        self.stdin.flush()
        found: object = {"reading": None}
        while isinstance(found, dict) and "reading" in found:
            size = int.from_bytes(self.stdout.read(4), "big")
            found = json.loads(self.stdout.read(size))
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.stdin.close()
    assert child.process.wait(60) == 0
    child.stdout.close()


@pytest.fixture
def job(root: Path) -> Job:
    (root / "a.txt").write_text("b a b\n" * 10)
    return chain(
        {"id": "r", "op": "read_text", "path": "a.txt"},
        {"id": "<b>", "op": "flat_map", "fn": "tokenize"},
        {"id": "c", "op": "reduce_by_key", "key": "token", "fn": "sum"},
        parallelism=2,
    )


def request(job: object, root: Path | None) -> bytes:
    settings = asdict(PlanSettings(single_task_bytes=0))
    head = json.dumps({"data_root": root and str(root), "settings": settings})
    return f"{head}\n{json.dumps(job)}".encode()


def test_a_plan_comes_back_and_runs(child: Child, job: Job, root: Path, tmp_path: Path) -> None:
    found = child.ask(request(job, root))
    graph = GraphMessage.model_validate(found["graph"]).graph
    assert graph.flow == {"r": (), "<b>": ("r",), "c": ("<b>",)}
    run = run_inline(graph, tmp_path, data_root=root)
    assert dict(run.results["c"].rows()) == {"a": 10, "b": 20}
    assert run.nodes == {"r": 10, "<b>": 30, "c": 2}


def test_a_wrong_job_is_an_error_and_the_next_is_planned(
    child: Child, job: Job, root: Path
) -> None:
    job["dag"]["nodes"][2]["key"] = "tokn"
    found = child.ask(request(job, root))
    assert found["status"] == 422
    assert found["error"]["node"] == "c"
    assert found["error"]["field"] == "key"
    assert found["error"]["hint"] == "did you mean 'token'?"
    job["dag"]["nodes"][2]["key"] = "token"
    assert "graph" in child.ask(request(job, root))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"\xff", b"{}\n1", b"null\n{}"])
def test_any_request_has_an_answer(child: Child, body: bytes) -> None:
    assert child.ask(body)["error"]["code"].startswith("MS-1")


def test_half_a_surrogate_pair_is_an_error(child: Child, job: Job, root: Path) -> None:
    job["dag"]["nodes"][1]["id"] = "\ud800"
    assert child.ask(request(job, root))["error"]["code"] == "MS-160"


def test_an_interrupt_does_not_end_it(child: Child, job: Job, root: Path) -> None:
    assert "graph" in child.ask(request(job, root))
    os.kill(child.process.pid, signal.SIGINT)
    assert "graph" in child.ask(request(job, root))


def test_it_ends_with_its_input_also_amid_a_request() -> None:
    child = Child()
    child.stdin.write(b"\0\0\0\xff{")
    child.stdin.close()
    assert child.process.wait(60) == 0
    child.stdout.close()


def test_what_is_printed_does_not_reach_the_parent() -> None:
    code = (
        "import os, sys\n"
        "from minispark.jobs import planner_child\n"
        "out = planner_child._own_stdout()\n"
        "print('noise'); os.write(1, b'more'); sys.stdout.flush()\n"
        "out.write(b'answer'); out.flush()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"answer"
    assert b"noise" in done.stderr


def test_whatever_is_raised_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ends(BaseException):
        pass

    def end(*_: object, **__: object) -> None:
        raise Ends("oh\n\nno")

    monkeypatch.setattr("minispark.jobs.planner_child.plan_job", end)
    found = json.loads(answer(b"{}\n{}"))
    assert found["status"] == 500
    assert "Ends: oh" in found["error"]["message"]


def test_a_panic_of_polars_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object, **__: object) -> None:
        raise PanicException("called unwrap")

    monkeypatch.setattr("minispark.jobs.planner_child.plan_job", panic)
    found = json.loads(answer(b"{}\n{}"))
    assert (found["status"], found["error"]["code"]) == (422, "MS-215")
    assert found["error"]["message"] == "Polars stopped with an internal error: called unwrap"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "JSON object"),
        (b'{"dag": {"nodes": [1, 2, 3, 4]}}', "at most 3"),
        (b'{"dag": {"nodes": [], "edges": [1, 2, 3]}}', "at most 2"),
        (b'{"dag": {"nodes": [{"id": "a", "where": "' + b"a+" * 80 + b'a"}]}}', "at most 100"),
        (b'{"dag": {"nodes": [{"id": "a", "x": [[[[[[1]]]]]]}]}}', "too deeply"),
    ],
)
def test_a_job_that_is_too_large_is_refused_before_it_is_planned(body: bytes, says: str) -> None:
    limits = {"nodes": 3, "edges": 2, "expression_chars": 100, "expression_depth": 5}
    found = json.loads(answer(json.dumps({"limits": limits}).encode() + b"\n" + body))
    assert found["status"] == 422
    assert says in found["error"]["message"]


def test_name_and_weight_are_told(job: Job, root: Path) -> None:
    given = request({**job, "name": "n", "weight": 2}, root)
    found = json.loads(answer(given))
    assert (found["name"], found["weight"]) == ("n", 2)
    found = json.loads(answer(request(job, root)))
    assert (found["name"], found["weight"]) == ("a.txt", 1)


@pytest.mark.parametrize(
    "weight", ["NaN", "Infinity", "1e400", "-1", "0", "1000", "1e308", "9" * 500, "true", '"x"']
)
def test_a_weight_that_is_no_sound_number_is_refused(job: Job, root: Path, weight: str) -> None:
    given = request({**job, "weight": "WEIGHT"}, root).replace(b'"WEIGHT"', weight.encode())
    found = json.loads(answer(given))
    assert (found["status"], found["error"]["field"]) == (422, "weight")
