"""Journals of chaos runs of earlier builds: this build decides the same, or says why not.

A new one is made with::

    python -m tests.chaos --seed N --jobs 6 --journals tests/chaos/journals
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.chaos.recordings import load
from tests.chaos.recordings import replay as replayed

from minispark.scheduler.snapshot import REPLAYED_VERSIONS, SCHEDULER_VERSION

FOLDER = Path(__file__).parent / "journals"
KEPT = sorted(FOLDER.glob("*.jsonl.gz"))
MIGRATIONS = dict.fromkeys((2, 3), "jobs that were running end FAILED and say why")
"""Versions of the scheduler whose journals this build does not replay, and what it does instead."""


def test_there_are_journals_with_a_restart_of_the_master_and_they_are_small() -> None:
    assert len(KEPT) >= 2
    assert {load(path).version for path in KEPT} >= REPLAYED_VERSIONS
    kinds = {row.kind for path in KEPT for row in load(path).rows}
    assert {"master_restarted", "task_failed", "worker_registered", "time_facts"} <= kinds
    assert all(path.stat().st_size < 200_000 for path in KEPT)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_the_same_is_decided_or_a_migration_has_a_name(path: Path) -> None:
    recording = load(path)
    done = replayed(recording)
    if recording.version in REPLAYED_VERSIONS:
        assert done.broken is None
        assert done.steps == len(recording.rows)
        assert all(job.ended for job in done.scheduler.state.jobs.values())
    else:
        assert MIGRATIONS[recording.version]
        assert recording.snapshot is None or "version" in (done.broken or "")


def test_another_decision_is_noticed() -> None:
    recording = next(one for one in map(load, KEPT) if one.version == SCHEDULER_VERSION)
    launches = (n for n, row in enumerate(recording.rows) if "launch_task" in (row.commands or ""))
    number = next(launches)
    row = recording.rows[number]
    wrong = replace(row, commands=(row.commands or "").replace("launch_task", "cancel_task", 1))
    rows = (*recording.rows[:number], wrong, *recording.rows[number + 1 :])
    done = replayed(replace(recording, rows=rows))
    assert f"row {row.seq}" in (done.broken or "")
