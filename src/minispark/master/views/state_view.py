"""The persisted state of a master, for people and scripts."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel

from minispark.master.control.components import Components
from minispark.observe.views import JobView
from minispark.scheduler.snapshot import SCHEDULER_VERSION
from minispark.scheduler.state import JobRun


class JournalState(BaseModel):
    """The state of the journal."""

    seq: int
    """Number of the last row."""
    status: str
    """``ok``, or ``degraded`` while it cannot be written."""
    trouble: str | None = None


class ScheduledStage(BaseModel):
    """A stage of a running job in the scheduler's state."""

    id: str
    label: str
    """What a second run would give; lowered when a second run gave something else."""
    generation: int
    """How often the whole stage was rolled back."""
    tasks: int
    tasks_done: int


class JobState(BaseModel):
    """A job; a finished one has no stages."""

    job_id: str
    status: str
    name: str | None = None
    stages: list[ScheduledStage] = []


class WorkerState(BaseModel):
    """A worker in the scheduler's state."""

    worker_id: str
    status: str
    active_tasks: int
    slots: int
    epoch: int
    excluded: bool
    """Whether it gets no work for a while because too many tasks failed on it."""
    full: str | None
    """Why it takes no work: its disk or its memory."""
    url: str | None = None


class StateView(BaseModel):
    """The persisted state. Without a token it has no names, addresses and reasons."""

    cluster_id: str
    master_epoch: int
    scheduler_version: int
    journal: JournalState
    jobs: list[JobState]
    workers: list[WorkerState]


def state_view(components: Components, *, whole: bool) -> StateView:
    """Return the state; if not ``whole``, only ids, statuses and counts."""
    scheduler, trouble = components.scheduler, components.loop.trouble
    urls = {session.worker_id: session.url for session in components.registry.all()}
    return StateView(
        cluster_id=components.identity.cluster_id,
        master_epoch=components.identity.master_epoch,
        scheduler_version=SCHEDULER_VERSION,
        journal=JournalState(
            seq=components.journal.seq,
            status="ok" if trouble is None else "degraded",
            trouble=trouble if whole else None,
        ),
        jobs=[
            _job(components.jobs.view(job), scheduler.state.jobs.get(job), whole=whole)
            for job in components.jobs.ids()
        ],
        workers=[
            WorkerState(
                worker_id=worker.worker,
                url=urls.get(worker.worker) if whole else None,
                **asdict(worker),
            )
            for worker in scheduler.worker_status()
        ],
    )


def _job(view: JobView, job: JobRun | None, *, whole: bool) -> JobState:
    return JobState(
        job_id=view.job_id,
        status=view.status.value,
        name=view.name if whole else None,
        stages=[
            ScheduledStage(
                id=f"stage-{stage.id}",
                label=stage.label.value,
                generation=stage.generation,
                tasks=len(stage.tasks),
                tasks_done=stage.done,
            )
            for stage in (() if job is None else job.ordered)
        ],
    )
