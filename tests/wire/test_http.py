from __future__ import annotations

import platform

import polars as pl
import pytest

from minispark.errors import ErrorInfo
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ScanFormat,
    ScanInput,
    ScanSpec,
    SinkSpec,
    Split,
    Stage,
    StageGraph,
)
from minispark.wire.hosts import host_name, is_loopback
from minispark.wire.http import (
    auth_headers,
    compare_versions,
    error_body,
    error_from,
    versions,
)
from minispark.wire.messages import GraphMessage


def test_versions_are_those_of_this_process() -> None:
    ours = versions()
    assert ours.polars == pl.__version__
    assert ours.python == platform.python_version()
    assert bytes.fromhex(ours.plan).startswith(b"DSL_VERSION")
    assert compare_versions(ours, ours, peer="x") is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"polars": "9.9"}, "the worker runs Polars 9.9 (here "),
        ({"minispark": "9.9", "polars": "9.9"}, "Mini-Spark 9.9 (here "),
        ({"python": "2.7.1"}, "Python 2.7 (here "),
        ({"plan": "ff"}, "another build of Polars"),
    ],
)
def test_what_differs_is_said(changes: dict[str, str], says: str) -> None:
    sentence = compare_versions(
        versions(), versions().model_copy(update=changes), peer="the worker"
    )
    assert sentence is not None
    assert says in sentence


def test_a_patch_release_of_python_does_not_matter() -> None:
    minor = ".".join(platform.python_version_tuple()[:2])
    theirs = versions().model_copy(update={"python": f"{minor}.99"})
    assert compare_versions(versions(), theirs, peer="x") is None


def test_errors_come_back_as_they_went() -> None:
    info = ErrorInfo("MS-110", "no column x", node="map1", row=3, hint="y")
    assert error_from(error_body(info), status=422) == info


@pytest.mark.parametrize("body", [None, [], "no", {"error": 1}, {"error": {"code": 1}}])
def test_other_answers_are_errors_too(body: object) -> None:
    assert "502" in error_from(body, status=502).message


def test_an_answer_with_fields_of_a_later_version_is_read() -> None:
    info = error_from({"error": {"message": "m", "code": "MS-1", "new": 1}}, status=400)
    assert info == ErrorInfo("MS-1", "m")


def test_the_token_travels_in_its_header() -> None:
    assert auth_headers("t") == {"Authorization": "Bearer t"}
    assert auth_headers(None) == {}


def test_plans_with_any_bytes_come_through() -> None:
    split = Split("a.csv", 0, 9, 9, 1)
    graph = StageGraph(
        stages=(
            Stage(
                0,
                "all",
                (
                    Branch(
                        bytes(range(256)),
                        1,
                        scans=(
                            ScanInput(
                                "in", ScanSpec(ScanFormat.CSV, {"separator": ";"}), ((split,),)
                            ),
                        ),
                    ),
                ),
                Output(OutputKind.SINK, 1, (b"\xff\x00",), SinkSpec("csv", "out")),
                Label.DETERMINATE,
            ),
        ),
        results=(),
        flow={"a": (), "b": ("a",)},
    )
    text = GraphMessage(graph=graph).model_dump_json()
    assert GraphMessage.model_validate_json(text).graph == graph


@pytest.mark.parametrize(
    ("netloc", "name"),
    [
        ("localhost:80", "localhost"),
        ("Example.COM.", "example.com"),
        ("[::1]:8080", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(netloc: str, name: str) -> None:
    assert host_name(netloc) == name


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("127.evil.example", False),
        ("10.0.0.1", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
