"""What the Docker page says of the compose file and the image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def test_compose_file() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {"master", "worker1", "worker2", "demo"} == services.keys()
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["secrets"] == ["minispark_token"]
        assert "MINISPARK_TOKEN" not in service["environment"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER minispark$", dockerfile, re.M)
    assert re.search(r"^HEALTHCHECK ", dockerfile, re.M)
    # Compose 1 and 2 read it, whatever the name of the directory.
    assert "COMPOSE_PROJECT_NAME=minispark" in (ROOT / ".env").read_text().splitlines()
    compose = shutil.which("docker-compose")
    if compose is not None:
        subprocess.run([compose, "config", "-q"], cwd=ROOT, check=True)


FAILED = "driver failed programming external connectivity on endpoint"


@pytest.mark.parametrize(
    ("printed", "variable", "port"),
    [
        (
            f"ERROR: for minispark_master_1  Cannot start service master: {FAILED} "
            "minispark_master_1 (4f0c): Error starting userland proxy: "
            "listen tcp4 127.0.0.1:8080: bind: address already in use",
            "MASTER_PORT",
            8080,
        ),
        (
            f"Error response from daemon: {FAILED} minispark-worker2-1 (8d3e): "
            "Bind for 127.0.0.1:10001 failed: port is already allocated",
            "WORKER2_METRICS_PORT",
            10001,
        ),
    ],
)
def test_a_taken_port_names_its_variable(
    tmp_path: Path, printed: str, variable: str, port: int
) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$2" != up ] || {{ echo "{printed}" >&2; exit 1; }}\n')
    docker.chmod(0o755)
    ran = subprocess.run(
        [tmp_path / "scripts" / "docker.sh", "up"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert printed in ran.stdout
    assert f"port {port} of this machine is taken." in ran.stderr
    assert re.search(rf"export {variable}=\d+\n", ran.stderr)
