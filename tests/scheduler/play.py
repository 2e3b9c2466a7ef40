"""A stage for stories: events in, commands out, the invariants checked after every event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from minispark.blocks.meta import Receipt
from minispark.errors import Failure, FetchFailed
from minispark.ids import TaskKey
from minispark.plan.stages import Label, ReadMode, StageInput
from minispark.scheduler import Scheduler, invariants
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    DismissWorker,
    FinishJob,
    JobStatus,
    LaunchTask,
    LeafBlocks,
    ReleaseJob,
    ReportAccepted,
    ReportDropped,
    WorkerDown,
)
from minispark.scheduler.events import (
    Event,
    JobSubmitted,
    TaskFailed,
    TaskSucceeded,
    WorkerHeartbeat,
    WorkerRegistered,
)
from minispark.scheduler.reasons import Reason
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec
from minispark.settings import SchedulerSettings

RECEIPT = Receipt((5, 5), (50, 50))
OTHER = Receipt((5, 5), (50, 51))


def key(stage: int, partition: int, attempt: int = 0, generation: int = 0) -> TaskKey:
    return TaskKey("j", stage, generation, partition, attempt)


def gone(lost: TaskKey) -> FetchFailed:
    return FetchFailed(lost.job, lost.stage, lost.generation, lost.partition, lost.attempt, "404")


def map_reduce(
    maps: int = 2, reduces: int = 2, label: Label = Label.DETERMINATE, job: str = "j"
) -> JobSpec:
    """Stage 0 makes rows, stage 1 reads them by hash and is the result."""
    return JobSpec(
        job,
        (
            StageSpec(0, (StageBranch(maps),), label),
            StageSpec(
                1,
                (StageBranch(reduces, (StageInput("in", 0, ReadMode.PARTITION),)),),
                result=True,
            ),
        ),
    )


def single(tasks: int = 1, *, job: str = "j", sink: bool = False) -> JobSpec:
    return JobSpec(job, (StageSpec(0, (StageBranch(tasks),), result=not sink, sink=sink),))


def failed(attempt: TaskKey | None, failure: Failure) -> FinishJob:
    return FinishJob("j", JobStatus.FAILED, failure, key=attempt)


def released(*workers: str, epoch: int = 1, job: str = "j") -> list[Command]:
    return [ReleaseJob(worker, epoch, job) for worker in workers]


def finished(*results: BlockRef) -> FinishJob:
    return FinishJob("j", JobStatus.SUCCEEDED, None, results)


def launch_keys(commands: Sequence[Command]) -> list[TaskKey]:
    """Return the attempts that commands launch; all of them must be launches."""
    launches = [command for command in commands if isinstance(command, LaunchTask)]
    assert launches == list(commands)
    return [launch.key for launch in launches]


def bare(command: Command) -> Command:
    """Return a command without its reason, which most stories leave to `test_scheduler_reasons`."""
    match command:
        case LaunchTask():
            reason = command.reason if command.speculative else None
            return replace(command, reason=reason, prefetched=False)
        case CancelTask() | WorkerDown() | FinishJob() | DismissWorker():
            return replace(command, reason=None)
        case _:
            return command


class Play:
    """A scheduler, its workers and the time; commands are shown `bare`."""

    def __init__(
        self, *workers: str, slots: int = 1, settings: SchedulerSettings | None = None
    ) -> None:
        self.scheduler = Scheduler(settings or SchedulerSettings(max_prefetch=0))
        self.now = 0.0
        self.verdict: ReportAccepted | ReportDropped | None = None
        """What the scheduler made of the last report."""
        self.reasons: list[Reason | None] = []
        """Why the last commands were given, in their order, without reports."""
        self.prefetched: list[TaskKey] = []
        self.inputs: dict[TaskKey, tuple[LeafBlocks, ...]] = {}
        self.home: dict[TaskKey, str] = {}
        for name in workers:
            assert self.tell(WorkerRegistered(name, 1, slots)) == []

    def tell(self, event: Event, at: float | None = None) -> list[Command]:
        self.now = self.now if at is None else at
        commands = self.scheduler.step(event, self.now)
        verdicts = (ReportAccepted, ReportDropped)
        self.verdict = next((one for one in commands if isinstance(one, verdicts)), None)
        commands = [one for one in commands if not isinstance(one, verdicts)]
        self.reasons = [one.reason for one in commands if hasattr(one, "reason")]
        self.prefetched += [c.key for c in commands if isinstance(c, LaunchTask) and c.prefetched]
        commands = list(map(bare, commands))
        invariants.check(self.scheduler, self.now)
        invariants.check_commands(self.scheduler, commands, self.now)
        for command in commands:
            if isinstance(command, LaunchTask):
                self.inputs[command.key] = command.inputs
                self.home[command.key] = command.worker
        return commands

    def submit(self, spec: JobSpec) -> list[Command]:
        return self.tell(JobSubmitted(spec))

    def beat(self, worker: str, *attempts: TaskKey, epoch: int = 1) -> list[Command]:
        return self.tell(WorkerHeartbeat(worker, epoch, attempts))

    def done(
        self, attempt: TaskKey, receipt: Receipt = RECEIPT, *, epoch: int = 1
    ) -> list[Command]:
        worker = self.home[attempt]
        return self.tell(TaskSucceeded(attempt, worker, epoch, receipt, self.read(attempt)))

    def failed(self, attempt: TaskKey, failure: Failure, *, epoch: int = 1) -> list[Command]:
        worker = self.home[attempt]
        return self.tell(TaskFailed(attempt, worker, epoch, failure, self.read(attempt)))

    def read(self, attempt: TaskKey) -> tuple[tuple[int, int], ...]:
        return tuple((leaf.stage, leaf.generation) for leaf in self.inputs[attempt])

    def launch(self, attempt: TaskKey, worker: str, *blocks: TaskKey, epoch: int = 1) -> LaunchTask:
        """Return the command that a story expects: ``blocks`` by hash under the leaf ``in``."""
        refs = tuple(BlockRef(b, self.home[b], attempt.partition) for b in blocks)
        leaves = (LeafBlocks("in", 0, blocks[0].generation, refs),) if blocks else ()
        return LaunchTask(worker, epoch, attempt, leaves)

    def mapped(self, label: Label = Label.DETERMINATE, reduces: int = 2) -> None:
        """Bring a job with two map tasks on w0 and w1 to where its reduce tasks run."""
        assert self.submit(map_reduce(2, reduces, label)) == [
            self.launch(key(0, 0), "w0"),
            self.launch(key(0, 1), "w1"),
        ]
        assert self.done(key(0, 0)) == []
        reads = launch_keys(self.done(key(0, 1)))
        free = min(reduces, len(self.scheduler.worker_status()))
        assert reads == [key(1, p) for p in range(free)]
