"""The state that outlives the master, for people and scripts to look at."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel

from minispark.master.control.components import Components
from minispark.master.jobs.job_store import JobStore
from minispark.scheduler.state import State
from minispark.scheduler.version import SCHEDULER_VERSION


class JournalState(BaseModel):
    """How far the journal is."""

    seq: int
    """Number of the last event."""
    status: str
    """``ok``, or ``degraded`` while it cannot be written."""
    trouble: str | None = None


class StageState(BaseModel):
    """A stage of a job at work, as the scheduler has it."""

    id: str
    label: str
    """What a second run would give; lowered when one proved the plan wrong."""
    generation: int
    """How often it was rolled back as a whole."""
    tasks: int
    tasks_done: int


class JobState(BaseModel):
    """A job; a finished one has no stages any more."""

    job_id: str
    status: str
    name: str | None = None
    stages: list[StageState] = []


class WorkerState(BaseModel):
    """A worker."""

    worker_id: str
    status: str
    active_tasks: int
    slots: int
    epoch: int
    excluded: bool
    """Too much failed on it lately: it gets no work for a while."""
    full: str | None
    """Why it takes no work: its disk or its memory."""
    url: str | None = None


class StateView(BaseModel):
    """Persisted state. Names, addresses and reasons are for those with a token only."""

    cluster_id: str
    master_epoch: int
    scheduler_version: int
    journal: JournalState
    jobs: list[JobState]
    workers: list[WorkerState]


def state_view(parts: Components, *, whole: bool) -> StateView:
    """Describe the state; not ``whole``: only ids, statuses and counts."""
    scheduler, trouble = parts.scheduler, parts.loop.trouble
    urls = {entry.worker_id: entry.url for entry in parts.registry.all()}
    return StateView(
        cluster_id=parts.identity.cluster_id,
        master_epoch=parts.identity.master_epoch,
        scheduler_version=SCHEDULER_VERSION,
        journal=JournalState(
            seq=parts.journal.seq,
            status="ok" if trouble is None else "degraded",
            trouble=trouble if whole else None,
        ),
        jobs=[_job(parts.jobs, scheduler.state, job, whole=whole) for job in parts.jobs.ids()],
        workers=[
            WorkerState(
                worker_id=worker.worker,
                url=urls.get(worker.worker) if whole else None,
                **asdict(worker),
            )
            for worker in scheduler.worker_status()
        ],
    )


def _job(book: JobStore, state: State, job: str, *, whole: bool) -> JobState:
    view = book.view(job)
    known = state.jobs.get(job)
    stages = [] if known is None else known.ordered
    return JobState(
        job_id=job,
        status=view.status.value,
        name=view.name if whole else None,
        stages=[
            StageState(
                id=f"stage-{stage.id}",
                label=stage.label.value,
                generation=stage.generation,
                tasks=len(stage.tasks),
                tasks_done=stage.done,
            )
            for stage in stages
        ],
    )
