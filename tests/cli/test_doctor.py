"""What the doctor finds on machines that are fit, and on such as are not."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from minispark.cli import examine
from minispark.cli.examine import CheckResult, CheckStatus, DoctorInput
from minispark.client import LocalCluster

from .conftest import Minispark


@pytest.fixture
def settings(tmp_path: Path, minispark: Minispark) -> DoctorInput:
    return DoctorInput(state_dir=tmp_path / "state", work_dir=tmp_path / "work", ports=())


def of(found: list[CheckResult], what: str) -> CheckResult:
    return next(one for one in found if one.what == what)


def test_a_machine_without_a_master_is_fit_if_none_was_named(
    minispark: Minispark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINISPARK_MASTER")
    # At the default there may be a master of the user who runs these tests.
    monkeypatch.setattr("minispark.discovery.DEFAULT_MASTER", "http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = minispark("doctor", "--worker-port", str(min(port, 64_535)), "--master-port", "1")
    assert ran.returncode == 0, ran.stdout
    lines = [line.split()[:2] for line in ran.stdout.splitlines()]
    said = {words[1] for words in lines if words[0] in ("OK", "WARN", "FAIL")}
    wanted = {"versions", "hashes", "files", "cores", "memory", "tmpfs", "disk", "port", "secret"}
    assert wanted | {"master"} <= said
    assert ["WARN", "master"] in lines
    assert re.search(r"fix: Start one with: \S*minispark master", ran.stdout)


def test_a_master_that_was_named_and_does_not_answer_is_a_failure(minispark: Minispark) -> None:
    ran = minispark("doctor", "--json", "--master", "http://127.0.0.1:9")
    assert ran.returncode == 1
    found = {one["what"]: one for one in json.loads(ran.stdout)}
    assert found["master"]["verdict"] == "FAIL"
    assert set(found["master"]) == {"what", "verdict", "said", "mend"}


def test_a_secret_that_others_may_read(settings: DoctorInput) -> None:
    settings.state_dir.mkdir(mode=0o700)
    token = settings.state_dir / "token"
    token.write_text("secret")
    token.chmod(0o644)
    found = of(examine.examine(settings), "secret")
    assert found.verdict is CheckStatus.FAIL
    assert "is readable by other users" in found.said
    assert found.mend
    token.chmod(0o600)
    assert of(examine.examine(settings), "secret").verdict is CheckStatus.OK
    settings.state_dir.chmod(0o755)
    found = of(examine.examine(settings), "secret")
    assert (found.verdict, found.mend) == (CheckStatus.FAIL, f"chmod 700 {settings.state_dir}")


def test_a_small_control_group_and_its_trap(settings: DoctorInput, tmp_path: Path) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    (cgroup / "memory.max").write_text("536870912\n")
    (cgroup / "memory.oom.group").write_text("1\n")
    small = DoctorInput(
        settings.state_dir, settings.work_dir, (), cgroup=cgroup, tmpfs=tmp_path / "no"
    )
    found = [one for one in examine.examine(small) if one.what == "memory"]
    assert [one.verdict for one in found] == [CheckStatus.WARN, CheckStatus.WARN]
    assert "may take 537 MB" in found[0].said
    assert "--memory-limit-mb" in str(found[1].mend)
    assert of(examine.examine(small), "tmpfs").verdict is CheckStatus.WARN


def test_a_port_that_is_taken(settings: DoctorInput) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = DoctorInput(settings.state_dir, settings.work_dir, (port,))
        assert of(examine.examine(busy), "port").verdict is CheckStatus.WARN
    assert of(examine.examine(busy), "port").verdict is CheckStatus.OK


def test_a_look_that_fails_is_a_finding(
    settings: DoctorInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _broken(_patient: DoctorInput) -> Iterator[CheckResult]:
        raise OSError("no such thing")

    monkeypatch.setattr(examine, "_CHECKS", (_broken,))
    assert examine.examine(settings) == [
        CheckResult("broken", CheckStatus.FAIL, "OSError: no such thing")
    ]


@pytest.mark.process
def test_a_cluster_that_is_well(minispark: Minispark, small_cluster: LocalCluster) -> None:
    ran = minispark(
        "doctor",
        "--json",
        MINISPARK_MASTER=small_cluster.url,
        MINISPARK_TOKEN=small_cluster.token,
        MINISPARK_STATE_DIR=str(small_cluster.directory / "state"),
    )
    found = {one["what"]: one for one in json.loads(ran.stdout)}
    assert found["master"]["verdict"] == found["clock"]["verdict"] == "OK", found
    assert "1 workers up" in found["master"]["said"]
    wrong = minispark("doctor", MINISPARK_MASTER=small_cluster.url, MINISPARK_TOKEN="wrong")  # noqa: S106
    # Figures may be read without a token on loopback, but not with a wrong one.
    assert (wrong.returncode, "does not accept the token" in wrong.stdout) == (1, True)
