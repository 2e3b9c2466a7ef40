"""What the master writes into its journal, and how it reads it back after a restart.

Kinds of events: ``launch_task``, ``task_succeeded``, ``task_failed``, ``worker_registered``,
``worker_down``, ``job_cancel_requested``, ``commit_job`` (the manifest), ``job_committed``,
``job_commit_failed``. Polls and heartbeats write nothing; what they set off does.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from minispark.clock import wall_s
from minispark.ids import TaskKey
from minispark.observe.journal import Journal, StoredJob
from minispark.observe.record import JobRecord
from minispark.scheduler.commands import Command, LaunchTask, WorkerDown
from minispark.scheduler.events import (
    Event,
    JobCancelRequested,
    JobCommitFailed,
    JobCommitted,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.task.spec import SinkFile, TaskFailure, TaskReport
from minispark.wire.messages import GraphMessage

__all__ = ["Diary", "Manifest", "rebuild"]


class Manifest(BaseModel):
    """Files of one sink stage that a commit publishes."""

    stage: int
    directory: str
    overwrite: bool
    files: list[SinkFile]


class _Launch(BaseModel):
    key: TaskKey
    worker: str


class _Report(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64")
    worker: str
    report: TaskReport | TaskFailure


class _Commit(BaseModel):
    manifests: list[Manifest]


class Diary:
    """Writes to a journal in the master's terms."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def report(self, worker: str, report: TaskReport | TaskFailure) -> None:
        """Note a report that counts; the others changed nothing."""
        kind = "task_succeeded" if isinstance(report, TaskReport) else "task_failed"
        payload = {"worker": worker, "report": report}
        self._journal.event(kind, payload, job=report.key.job, at=wall_s())

    def step(self, event: Event, commands: list[Command]) -> None:
        """Note one step of the scheduler."""
        at = wall_s()
        match event:
            case JobCancelRequested() | JobCommitted() | JobCommitFailed():
                self._journal.event(event.kind, event, job=event.job, at=at)
            case WorkerRegistered() | WorkerLeft():
                self._journal.event(event.kind, event, job="", at=at)
            case _:
                pass
        for command in commands:
            match command:
                case LaunchTask():
                    # Inputs are left out: they follow from the reports, and would be M x R.
                    payload = {"key": command.key, "worker": command.worker}
                    self._journal.event(command.kind, payload, job=command.key.job, at=at)
                case WorkerDown():
                    self._journal.event(command.kind, command, job="", at=at)
                case _:
                    pass

    def commit(self, job: str, manifests: list[Manifest]) -> None:
        """Note what is about to be published."""
        self._journal.event("commit_job", {"manifests": manifests}, job=job, at=wall_s())


def rebuild(journal: Journal, stored: StoredJob) -> tuple[JobRecord, list[Manifest] | None]:
    """Make the record of a job that was running when its master ended.

    The manifest is there if its commit had begun.
    """
    graph = GraphMessage.model_validate_json(stored.graph).graph
    record = JobRecord(stored.job, stored.name, graph, stored.submitted_at)
    manifests: list[Manifest] | None = None
    after = 0
    while events := journal.read_events(stored.job, after=after):
        for event in events:
            if event.kind == "commit_job":
                manifests = _Commit.model_validate_json(event.payload).manifests
            else:
                _retell(record, event.kind, event.payload, event.at)
        after = events[-1].seq
    return record, manifests


def _retell(record: JobRecord, kind: str, payload: str, at: float) -> None:
    if kind == "launch_task":
        launch = _Launch.model_validate_json(payload)
        record.launched(launch.key, launch.worker, at)
    elif kind in ("task_succeeded", "task_failed"):
        told = _Report.model_validate_json(payload)
        if isinstance(told.report, TaskReport):
            record.succeeded(told.report, told.worker, at)
        else:
            record.failed(told.report.key, told.report.failure, told.worker, at)
