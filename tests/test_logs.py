"""The lines that a worker keeps: the latest of each level, bounded and masked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from minispark.logs import LogBuffer
from minispark.settings import LogSettings


def add(buffer: LogBuffer, level: str, event: str, **fields: object) -> None:
    buffer(None, level, {"level": level, "event": event, "timestamp": "2026-01-01", **fields})


def test_many_lines_of_a_level_push_out_only_their_own() -> None:
    buffer = LogBuffer(LogSettings(kept_lines=3))
    add(buffer, "error", "broken")
    for number in range(10):
        add(buffer, "info", f"line {number}")
    add(buffer, "critical", "of a library")
    events = [line["event"] for line in buffer.latest(level="debug", limit=100)]
    assert events == ["broken", "line 7", "line 8", "line 9", "of a library"]


def test_lines_are_selected_by_level_count_and_number() -> None:
    buffer = LogBuffer()
    for level in ("debug", "info", "warning", "error", "info"):
        add(buffer, level, level)

    def numbers(*, limit: int = 9, after: int = 0) -> list[int]:
        lines = buffer.latest(level="info", limit=limit, after=after)
        return [line["number"] for line in lines]

    assert numbers() == [2, 3, 4, 5]
    assert numbers(limit=2) == [4, 5]
    assert numbers(after=3) == [4, 5]
    assert [line["level"] for line in buffer.latest(level="warning", limit=9)] == [
        "warning",
        "error",
    ]


def test_a_line_is_bounded_and_refers_to_nothing() -> None:
    buffer = LogBuffer(LogSettings(kept_chars=200))
    frame = {"rows": ["x" * 1_000] * 1_000}
    add(buffer, "info", "e" * 150, first="f" * 1_000, frame=frame, late="unseen")
    add(buffer, "error", "failed", exception="a" * 1_000 + "ValueError: the reason", after=1)
    add(buffer, "info", "short", count=3, ok=True, none=None, path=["a", {"b": 1}])
    long, error, short = buffer.latest(level="info", limit=9)
    for line in (long, error):
        assert len(json.dumps(line["fields"])) < 250
    assert error["fields"]["exception"].endswith("ValueError: the reason")
    assert short["fields"] == {"count": 3, "ok": True, "none": None, "path": '["a", {"b": 1}]'}


def test_secrets_are_masked_where_they_are() -> None:
    buffer = LogBuffer()
    fields = {"DB_PASSWORD": "hunter22", "options": {"db_password": "p4ss"}, "column": "t"}
    add(buffer, "info", "e", **fields)
    [line] = buffer.latest(level="info", limit=1)
    assert "hunter22" not in str(line)
    assert "p4ss" not in str(line)
    assert line["fields"]["column"] == "t"


SCRIPT = """
import json, logging, sys
from minispark.logs import LogBuffer, configure_logs, logger
from minispark.settings import LogSettings
buffer = LogBuffer()
configure_logs(LogSettings(format=sys.argv[1], level="info"), buffer=buffer, worker="w-1")
logger("worker").debug("unseen")
logger("worker").info("task_output", line="key is s3cr3t-value")
logging.getLogger("library").warning("of a library")
try:
    raise ValueError("why")
except ValueError:
    logger("worker").error("failed", exc_info=True)
print(json.dumps(buffer.latest(level="debug", limit=9)))
"""


@pytest.mark.parametrize("format_", ["json", "text"])
def test_the_buffer_gets_what_is_written(format_: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, format_],
        env={"MY_SECRET": "s3cr3t-value", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = json.loads(ran.stdout)
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "task_output"),
        ("warning", "of a library"),
        ("error", "failed"),
    ]
    assert lines[0]["fields"] == {"worker": "w-1", "part": "worker", "line": "key is ***"}
    assert lines[2]["fields"]["exception"].endswith("ValueError: why")
    assert ran.stderr.count("s3cr3t-value") == 0
