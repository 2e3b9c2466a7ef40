"""What is said of a planner that ended, by how it ended and what it read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.jobs.job_kit import Job, chain

from minispark.errors import UsageError
from minispark.jobs import planner_child
from minispark.jobs.compile import plan_job
from minispark.jobs.reading import Reading, ended, no_memory, timed_out

PACKED = Reading("r", "x.csv.gz", compressed=True)
PLAIN = Reading("r", "x.csv")


@pytest.mark.parametrize(
    ("how", "words", "reading", "code", "says", "hint"),
    [
        ("signal SIGABRT", "memory allocation of 9 bytes failed", PACKED, "MS-169",
         "more memory than its limit of 5 MB, while the compressed file 'x.csv.gz' (node 'r')",
         "Unpack the file"),
        ("signal SIGABRT", "memory allocation of 9 bytes failed", PLAIN, "MS-169",
         "while the file 'x.csv' (node 'r') was read", "one record of it"),
        ("signal SIGABRT", "memory allocation of 9 bytes failed", None, "MS-169",
         "more memory than its limit of 5 MB", "Make the job smaller"),
        ("signal SIGKILL", "", PACKED, "MS-169",
         "the operating system killed the planner, probably because memory ran out, while the "
         "compressed",
         "Unpack the file"),
        ("signal SIGKILL", "", None, "MS-169", "memory ran out", "Make the job smaller"),
        ("signal SIGSEGV", "", None, "MS-130", "(signal SIGSEGV)", "An expression is probably"),
        ("signal SIGSEGV", "", PLAIN, "MS-130", "(signal SIGSEGV) while the file", "Check that"),
        ("exit code 3", "", None, "MS-130", "(exit code 3)", "log of the master"),
        ("", "", None, "MS-130", "(no answer)", "log of the master"),
    ],
)  # fmt: skip
def test_why_a_planner_ended(
    how: str, words: str, reading: Reading | None, code: str, says: str, hint: str
) -> None:
    info = ended(how, words, reading, limit_bytes=5 << 20)
    assert info.code == code
    assert says in info.message
    assert hint in (info.hint or "")
    assert "expression" not in (info.message + (info.hint or "")) or reading is None
    assert info.file == (None if reading is None else reading.file)
    assert info.node == (None if reading is None else "r")


def test_why_planning_took_too_long_or_too_much() -> None:
    assert timed_out(5.0, None).message == "planning the job timed out after 5 s"
    assert "the compressed file 'x.csv.gz' (node 'r')" in timed_out(5.0, PACKED).message
    assert "than there is" in no_memory(None, limit_bytes=-1).message


def test_what_is_read_is_said_before_it_is_read(root: Path) -> None:
    (root / "a.csv").write_text("a\n1\n")
    (root / "b.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    said: list[Reading | None] = []

    def job(path: str) -> Job:
        return chain({"id": "r", "op": "read_csv", "path": path})

    plan_job(job("a.csv"), data_root=root, on_read=said.append)
    plan_job(job("*.csv*"), data_root=root, on_read=said.append)
    assert said == [
        Reading("r", "a.csv"),
        None,
        Reading("r", "b.csv.gz", compressed=True),
        None,
    ]
    (root / "a.csv").write_text("")
    with pytest.raises(UsageError, match="cannot read"):
        plan_job(job("a.csv"), data_root=root, on_read=said.append)
    assert said[-1] == Reading("r", "a.csv")


def test_the_child_names_the_file_over_which_memory_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object, on_read: Callable[[Reading | None], None], **__: object) -> None:
        on_read(PACKED)
        raise MemoryError

    monkeypatch.setattr(planner_child, "plan_job", greedy)
    notes: list[bytes] = []
    found = json.loads(planner_child.answer(b"{}\n{}", note=notes.append))
    assert found["error"]["code"] == "MS-169"
    assert found["error"]["file"] == "x.csv.gz"
    assert [json.loads(note)["reading"]["node"] for note in notes] == ["r"]
