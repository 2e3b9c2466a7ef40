"""The logs of a real cluster: every line is JSON, and says which attempt it is about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from minispark import Engine
from minispark.client import LocalCluster
from minispark.errors import JobFailedError

pytestmark = pytest.mark.process

JSON = ("--log-format", "json", "--log-level", "debug")
TASK = {"job", "stage", "task", "attempt", "worker"}


def test_every_line_is_json_and_names_what_it_is_about(tmp_path: Path) -> None:
    def loud(frame: pl.DataFrame) -> pl.DataFrame:
        print("hello from a task, password=hunter2")  # noqa: T201
        if frame.height > 3:
            msg = "too many rows"
            raise ValueError(msg)
        return frame

    with LocalCluster(2, master_options=JSON, worker_options=JSON) as cluster:
        engine = Engine(cluster.url, token=cluster.token, progress=False)
        good = pl.LazyFrame({"a": [1, 2]}).map_batches(loud)
        assert good.collect(engine=engine).height == 2
        with pytest.raises(JobFailedError):
            pl.LazyFrame({"a": range(4)}).map_batches(loud).collect(engine=engine)
        (first, second) = [view.job_id for view in reversed(cluster.client.jobs())]
        cluster.workers[0].stop()
        cluster.workers[1].stop()
        logs = cluster.logs()
    lines = {name: [json.loads(line) for line in log.splitlines()] for name, log in logs.items()}
    assert set(lines) == {"master", "worker-0", "worker-1"}
    everything = [line for found in lines.values() for line in found]
    assert all({"event", "level", "timestamp", "part"} <= set(line) for line in everything)

    def of(event: str) -> list[dict[str, Any]]:
        return [line for line in everything if line["event"] == event]

    for event in ("task_launched", "task_started", "task_output", "task_ended", "task_failed"):
        assert of(event), event
        assert all(set(line) >= TASK for line in of(event)), event
        assert min(line["attempt"] for line in of(event)) == 1, "people count from 1"
    assert {line["job"] for line in of("task_output")} == {first, second}
    printed = {line["line"] for line in of("task_output") if "hello" in line["line"]}
    assert len(printed) == 1
    assert "hunter2" not in "".join(logs.values())
    for name in ("worker-0", "worker-1"):
        (worker,) = {line["worker"] for line in lines[name]}
        assert worker in {line.get("worker") for line in lines["master"]}
    assert {line["status"] for line in of("job_ended")} == {"SUCCEEDED", "FAILED"}


def test_text_is_for_people_and_libraries_log_the_same_way(tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "from minispark.logs import configure_logs, logger\n"
        "from minispark.settings import LogSettings\n"
        "configure_logs(LogSettings(sys.argv[1]), worker='w-1')\n"
        "logger('worker').info('hello', number=1)\n"
        "logging.getLogger('another.package').warning('careful: %s', 'API_KEY=abc123')\n"
    )

    def said(form: str) -> list[str]:
        environment = os.environ | {"NO_COLOR": "1"}
        command = [sys.executable, "-c", code, form]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert ran.stdout == ""
        return ran.stderr.splitlines()

    text = said("text")
    assert all("worker=w-1" in line and not line.startswith("{") for line in text)
    # Off a terminal auto is JSON.
    (own, foreign) = [json.loads(line) for line in said("auto")]
    assert (own["event"], own["number"], own["worker"]) == ("hello", 1, "w-1")
    assert (foreign["logger"], foreign["level"]) == ("another.package", "warning")
    assert "abc123" not in json.dumps(foreign)


def test_text_shows_control_characters_in_place_of_obeying_them() -> None:
    code = (
        "import logging, sys\n"
        "from minispark.logs import configure_logs, logger\n"
        "from minispark.settings import LogSettings\n"
        "evil = 'x\\x1b[2J\\x9b31m\\r\\nFORGED'\n"
        "configure_logs(LogSettings('text'), worker=evil)\n"
        "logger('worker').info(evil, line=evil, many=[evil])\n"
        "logging.getLogger(evil).warning('careful: %s', evil)\n"
        "try:\n"
        "    raise ValueError(evil)\n"
        "except ValueError:\n"
        "    logger('worker').exception('failed')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert ran.stderr.count(r"\x1b[2J") >= 6
    assert not {"\x1b", "\x9b", "\r"} & set(ran.stderr)
    # A traceback has lines of its own; those of a text within it are not told apart.
    logged = ran.stderr.partition("Traceback")[0]
    assert not any(line.startswith("FORGED") for line in logged.splitlines())
