"""The state of a job in one sentence."""

from __future__ import annotations

from pydantic import BaseModel

from minispark.formatting import count_words, duration_words, many
from minispark.observe.estimate import left_words
from minispark.observe.record import JobRecord
from minispark.observe.views import JobMetrics, JobView, running_stage
from minispark.scheduler.commands import JobStatus

_NAMED = 2
"""If more workers are lost, the sentence only counts them."""


_PASSED = frozenset({"SUCCEEDED", "SKIPPED"})


class SentenceTime(BaseModel):
    """A time within a sentence, shown in the time zone of the reader."""

    at: float


Sentence = list[str | SentenceTime]


def headline(record: JobRecord, view: JobView, metrics: JobMetrics) -> Sentence:
    """Return the state: ``Stage 3 of 4, 62 %, worker b lost at 10:31, 4 tasks run again``."""
    parts: list[Sentence] = [_state(record, view, metrics)]
    left = left_words(view.left_s, view.left_sure)
    if left is not None:
        parts.append([left])
    if view.waiting is not None:
        parts.append([f"it waits: {view.waiting}"])
    lost = sorted(record.lost_workers.items(), key=lambda pair: pair[1])
    if len(lost) > _NAMED:
        parts.append(
            [f"{many(len(lost), 'worker')} lost, the last at ", SentenceTime(at=lost[-1][1])]
        )
    else:
        parts += [[f"worker {worker} lost at ", SentenceTime(at=at)] for worker, at in lost]
    if metrics.retries:
        verb = "ran" if view.finished_at is not None else "run"
        if metrics.retries == 1:
            verb = "ran" if view.finished_at is not None else "runs"
        parts.append([f"{many(metrics.retries, 'task')} {verb} again"])
    sentence: Sentence = []
    for number, part in enumerate(parts):
        sentence += [", ", *part] if number else part
    return sentence


def _state(record: JobRecord, view: JobView, metrics: JobMetrics) -> Sentence:
    took = duration_words(view.duration_s)
    match view.status:
        case JobStatus.ACCEPTED:
            return ["Accepted, not started yet"]
        case JobStatus.RUNNING:
            open_stages = [stage.status not in _PASSED for stage in view.stages]
            if not any(open_stages):
                return ["All tasks done, its output is being published"]
            first = f"stage {open_stages.index(True) + 1} of {len(view.stages)}"
            stage = running_stage(view.stages) or first
            return [f"{stage[0].upper()}{stage[1:]}, {int(view.progress)} %"]
        case JobStatus.SUCCEEDED:
            workers = {a.worker for a in record.attempts.values() if a.status == "SUCCEEDED"}
            rows = metrics.input_records
            read = f", {count_words(rows)} rows read" if rows else ""
            where = f" on {many(len(workers), 'worker')}" if workers else ""
            tasks = f"{many(metrics.stages, 'stage')}, {many(metrics.tasks, 'task')}"
            return [f"Done in {took}: {tasks}{where}{read}"]
        case JobStatus.FAILED:
            why = "" if view.error is None else f": {view.error.message}"
            return [f"Failed after {took}{why}"]
        case JobStatus.CANCELLED:
            return [f"Cancelled after {took}, at {view.progress:.0f} %"]
