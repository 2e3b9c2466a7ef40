"""The manifests are valid Kubernetes, and keep what the docs promise of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.core import TyperGroup

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
FILES = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
OBJECTS = [
    document for name in FILES for document in yaml.safe_load_all((DEPLOY / name).read_text())
]
SETS = {o["metadata"]["name"]: o for o in OBJECTS if o["kind"] == "StatefulSet"}
MIB = {"Mi": 1, "Gi": 1024}


def container(name: str) -> dict[str, Any]:
    found: dict[str, Any] = SETS[name]["spec"]["template"]["spec"]["containers"][0]
    return found


def mib(text: str) -> int:
    return int(text[:-2]) * MIB[text[-2:]]


def test_every_manifest_is_applied() -> None:
    assert set(FILES) == {path.name for path in DEPLOY.glob("*.yaml")} - {"kustomization.yaml"}


@pytest.mark.parametrize("version", ["1.28", "1.34"])
@pytest.mark.parametrize("document", OBJECTS, ids=lambda o: f"{o['kind']}-{o['metadata']['name']}")
def test_it_is_valid(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", SETS)
def test_pods_may_as_little_as_they_can(name: str) -> None:
    pod = SETS[name]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    named = {volume["name"] for volume in pod["volumes"]}
    named |= {
        claim["metadata"]["name"] for claim in SETS[name]["spec"].get("volumeClaimTemplates", [])
    }
    assert {mount["name"] for mount in container(name)["volumeMounts"]} == named


@pytest.mark.parametrize("name", SETS)
def test_probes_ask_under_a_name_that_is_answered(name: str) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container(name)[probe]["httpGet"]
        assert asked["path"] == "/healthz"
        assert {"name": "Host", "value": "localhost"} in asked["httpHeaders"]


@pytest.mark.parametrize("name", SETS)
def test_the_token_comes_from_a_secret(name: str) -> None:
    environment = {entry["name"]: entry for entry in container(name)["env"]}
    assert environment["MINISPARK_TOKEN_FILE"]["value"] == "/run/secrets/minispark/token"
    assert "MINISPARK_TOKEN" not in environment
    assert not any("token" in argument for argument in container(name)["args"])


def test_a_task_ends_before_the_kernel_ends_the_worker() -> None:
    worker = container("minispark-worker")
    given = dict(a.removeprefix("--").split("=", 1) for a in worker["args"] if "=" in a)
    limit = mib(worker["resources"]["limits"]["memory"])
    assert worker["resources"]["requests"]["memory"] == worker["resources"]["limits"]["memory"]
    room = limit - int(given["memory-limit-mb"]) - int(given["cache-max-mb"])
    assert room >= 1024
    volumes = SETS["minispark-worker"]["spec"]["template"]["spec"]["volumes"]
    shm = next(volume["emptyDir"] for volume in volumes if volume["name"] == "shm")
    assert shm["medium"] == "Memory"
    assert mib(shm["sizeLimit"]) >= int(given["cache-max-mb"])


@pytest.mark.parametrize("name", SETS)
def test_options_are_those_of_the_command(name: str) -> None:
    from typer.main import get_command

    from minispark.cli.app import app

    command, *options = container(name)["args"]
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    known = {option for parameter in group.commands[command].params for option in parameter.opts}
    assert {re.sub(r"=.*", "", option) for option in options} <= known
