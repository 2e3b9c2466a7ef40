"""What the Docker page says of the compose file and the image."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

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
