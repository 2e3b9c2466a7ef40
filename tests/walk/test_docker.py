"""The commands of the Docker page.

For real where MINISPARK_TEST_DOCKER=1 (with BASE_IMAGE, if python:3.11-slim cannot be pulled);
elsewhere up to the first command for Docker.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from tests.walk.pages import Because, Step, Walk
from tests.walk.shell import Shell, free_port
from tests.walk.steps import REAL_DOCKER, asks_docker, opens_the_page, says

pytestmark = [pytest.mark.walk, pytest.mark.process, pytest.mark.timeout(1800)]


def with_docker(step: Step) -> Step:
    """A step that only a running cluster of containers can take."""

    def take(shell: Shell, line: str) -> None:
        if not REAL_DOCKER:
            pytest.skip("MINISPARK_TEST_DOCKER=1 runs the containers for real")
        step(shell, line)

    return take


EXPORT = (
    "export MINISPARK_MASTER=http://127.0.0.1:8080 MINISPARK_TOKEN_FILE=.secrets/minispark_token"
)


def exports(shell: Shell, line: str) -> None:
    """Later commands have these variables; and there is a ``minispark`` here."""
    assignments = shell.as_here(line).split()[1:]
    shell.variables |= dict(assignment.split("=", 1) for assignment in assignments)
    shell.run("make build")


def prints_a_link(shell: Shell, line: str) -> None:
    """The link has the published port, as those in the log and of ``make docker-up``."""
    links = [
        re.search(r"(http://127\.0\.0\.1:\d+)/login\?code=", shell.run(printing))
        for printing in (line, "make docker-up", "docker compose logs master")
    ]
    assert [link and link[1] for link in links] == [f"http://127.0.0.1:{shell.master_port}"] * 3


def down(shell: Shell, line: str) -> None:
    asks_docker("compose --profile demo down --volumes")(shell, line)


WALK = Walk(
    "docs/docker.md",
    {
        "make docker-build": asks_docker("compose build master"),
        "make docker-demo": asks_docker(
            "compose up -d", r"as plain Python counts them", r"SUCCEEDED"
        ),
        "make docker-down": down,
        "make docker-test": asks_docker(
            "minispark-faults compose up -d", r"every result was right"
        ),
        "make docker-up": asks_docker("compose up -d", r"two workers are up", r"web page: http"),
        "make docker-logs": Because(
            "it goes on until it is stopped; README.es.md's walk starts it"
        ),
        "docker compose exec master minispark ui --print": with_docker(prints_a_link),
        "docker compose run --rm demo data large": with_docker(says(r"large\.csv")),
        "docker compose run --rm demo submit --input data/large.csv --wait": with_docker(
            says("SUCCEEDED")
        ),
        "docker compose run --rm demo jobs": with_docker(says("SUCCEEDED")),
        EXPORT: with_docker(exports),
        "minispark submit --input data/large.csv --wait": with_docker(says("SUCCEEDED")),
        "minispark ui": with_docker(opens_the_page),
        "export MINISPARK_DATA=./data": Because("the walk keeps its files in the volume"),
        "make build": Because("the step before runs it"),
        "docker compose": Because("the name of a program"),
        "make docker-build BASE_IMAGE=my/debian-with-python3-and-venv": Because(
            "the first build has the base image that is given"
        ),
        "curl http://127.0.0.1:8080/api/v1/metrics/system": with_docker(says('"workers_up": ?2')),
        "curl http://127.0.0.1:10000/metrics": with_docker(says("cpu_percent")),
    },
)


@pytest.fixture(scope="module", autouse=True)
def project(shell: Shell) -> Iterator[None]:
    """Ports of its own; a base image if one is named; at the end nothing is left."""
    ports = {
        "MASTER_PORT": str(shell.master_port),
        "WORKER1_METRICS_PORT": str(shell.worker_port + 1000),
        "WORKER2_METRICS_PORT": str(free_port()),
    }
    shell.variables |= ports
    shell.variables |= {name: os.environ[name] for name in ("BASE_IMAGE",) if name in os.environ}
    yield
    if REAL_DOCKER:
        shell.run("make docker-down")


@pytest.mark.parametrize("line", WALK.lines)
def test_line(shell: Shell, line: str) -> None:
    WALK.take(shell, line)
