"""A world for the scheduler: workers, a lossy network and bad luck, all drawn from one seed.

Phase 1 breaks things: messages are lost, doubled and late, workers crash and come back, blocks
vanish, stages that claim to be repeatable are not. Phase 2 heals everything, and then every job
has to end. After each event the invariants are checked, and a job that succeeds must have been
made from one version of every block: each block knows which versions went into it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from heapq import heappop, heappush
from random import Random

from sim_parts import Block, FakeWorker, Faults, draw_job, steady, true_version

from minispark.errors import (
    Cancelled,
    ErrorInfo,
    Failure,
    FetchFailed,
    OutOfMemory,
    TaskError,
    TimedOut,
    WorkerLost,
)
from minispark.ids import TaskKey
from minispark.scheduler import Scheduler, invariants, snapshot
from minispark.scheduler.commands import (
    CancelTask,
    Command,
    CommitJob,
    DismissWorker,
    FinishJob,
    JobStatus,
    LaunchTask,
    MoveBlocks,
    ReleaseBlocks,
    ReleaseJob,
    RequireRegistration,
    WorkerDown,
)
from minispark.scheduler.events import (
    BlocksMoved,
    Event,
    JobCancelRequested,
    JobCommitFailed,
    JobCommitted,
    JobReleased,
    JobSubmitted,
    MasterRestarted,
    TaskFailed,
    TaskSucceeded,
    TimerFired,
    WorkerDraining,
    WorkerHeartbeat,
    WorkerLeft,
    WorkerRegistered,
)
from minispark.scheduler.spec import (
    FoundBlock,
    JobSpec,
    Receipt,
    StageLabel,
)
from minispark.settings import SchedulerSettings

HEAL_S = 60.0
PATIENCE_S = 900.0
SETTLE_S = 60.0
HEARTBEAT_S = 2.0
MOST_STEPS = 20_000
"""A history that takes more goes in circles; usual ones take a few hundred."""


class SimulationError(AssertionError):
    """A history that went wrong, with the seed that makes it again."""


class World:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.faults = Faults.drawn(self.chance)
        self.scheduler = Scheduler(SchedulerSettings(no_worker_grace_s=60.0))
        self.now = 0.0
        self.queue: list[tuple[float, int, tuple[object, ...]]] = []
        self.counter = 0
        self.epochs = 0
        self.versions = 0
        self.journal: list[str] = []
        self.steps = 0
        self.healed = False
        self.restarting = False
        self.workers = {
            f"w{number}": FakeWorker(f"w{number}", self.chance.choice((1, 1, 2, 3)))
            for number in range(self.chance.randint(1, 4))
        }
        self.jobs = {
            f"j{n}": draw_job(self.chance, f"j{n}") for n in range(self.chance.randint(1, 3))
        }
        self.sinks: dict[str, tuple[TaskKey, ...]] = {}
        self.finished: dict[str, FinishJob] = {}
        self.launched: dict[TaskKey, None] = {}
        self.everything: dict[TaskKey, Block] = {}

    # The story of a history.

    def run(self) -> World:
        try:
            self._begin()
            while not self._over():
                self._tick()
            self._close()
        except Exception as error:
            tail = "\n".join(self.journal[-30:])
            msg = f"seed {self.seed}: {error}\n{self.faults}\n{tail}"
            raise SimulationError(msg) from error
        return self

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.journal).encode()).hexdigest()

    def _begin(self) -> None:
        for worker in self.workers.values():
            self._after(self.chance.random() * 5, "register", worker.name, worker.life)
            self._after(self.chance.random() * 2, "beat", worker.name, worker.life)
        for name, spec in self.jobs.items():
            self._send(JobSubmitted(spec), delay_s=self.chance.random() * 10, certain=True)
            if self.chance.random() < 0.1:
                self._send(JobCancelRequested(name), delay_s=self.chance.random() * HEAL_S)
        if self.faults.crash_every_s:
            self._after(self.chance.random() * self.faults.crash_every_s, "crash")
        if self.faults.drain_every_s:
            self._after(self.chance.random() * self.faults.drain_every_s, "drain")
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            self._after(self.chance.random() * HEAL_S, "new_master")
        self._after(HEAL_S, "heal")

    def _over(self) -> bool:
        if self.now > HEAL_S + PATIENCE_S or self.steps > MOST_STEPS:
            msg = f"jobs did not end: {sorted(set(self.jobs) - set(self.finished))}"
            raise AssertionError(msg)
        return self.healed and len(self.finished) == len(self.jobs)

    def _tick(self) -> None:
        due_s = self.queue[0][0] if self.queue else float("inf")
        wake_s = self.scheduler.wake_s
        if wake_s <= due_s and wake_s < float("inf"):
            self.now = max(self.now, wake_s)
            self._step(TimerFired())
            assert self.scheduler.wake_s > self.now, "the timer fires for nothing, for ever"
            return
        self.now, _, item = heappop(self.queue)
        getattr(self, f"_on_{item[0]}")(*item[1:])

    def _close(self) -> None:
        """Release every job: then nothing may be left of any."""
        for name in self.jobs:
            self._step(JobReleased(name))
            self._step(JobReleased(name))
            assert self.scheduler.is_empty_of(name), f"something is left of {name}"
        assert not any(self.scheduler.active_attempts(name) for name in self.workers)
        # Whoever was away when a job ended is told when it names the job.
        end_s = self.now + SETTLE_S
        while self.now < end_s:
            self._tick()
        for name, worker in self.workers.items():
            assert not worker.blocks, f"{name} keeps {len(worker.blocks)} blocks for ever"

    # The network.

    def _after(self, delay_s: float, *item: object) -> None:
        self.counter += 1
        heappush(self.queue, (self.now + delay_s, self.counter, item))

    def _deliveries(self) -> Iterator[float]:
        """Yield the delay of each copy of a message that arrives."""
        copies = 1 + (self.chance.random() < self.faults.doubled)
        for _ in range(copies):
            if self.chance.random() >= self.faults.lost:
                late = self.chance.random() < self.faults.late
                yield self.chance.random() * (15.0 if late else 0.05)

    def _send(self, event: Event, *, delay_s: float = 0.0, certain: bool = False) -> None:
        if certain:
            self._after(delay_s, "event", event)
        for network_s in self._deliveries() if not certain else ():
            self._after(delay_s + network_s, "event", event)

    def _tell(self, worker: str, command: Command) -> None:
        life = self.workers[worker].life
        for delay_s in self._deliveries():
            self._after(delay_s, "command", worker, life, command)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, JobSubmitted) and self.chance.random() < 0.3:
            event = JobSubmitted(self._found(event.job))
        self._step(event)

    def _found(self, spec: JobSpec) -> JobSpec:
        """Let workers have kept some blocks from earlier jobs; some are gone already."""
        found: list[FoundBlock] = []
        up = [worker for worker in self.workers.values() if worker.epoch is not None]
        for stage in steady(spec) if up else ():
            share = self.chance.choice((0.0, 0.5, 1.0))
            for partition in range(stage.partitions):
                if self.chance.random() >= share:
                    continue
                worker = self.chance.choice(up)
                key = TaskKey(spec.job, stage.id, 0, partition, 0)
                version = true_version(spec, stage.id, partition)
                block = Block(version, {(stage.id, partition): version}, torn=False)
                self.everything[key] = block
                if self.chance.random() >= self.faults.vanish:
                    worker.blocks[key] = block
                found.append(
                    FoundBlock(stage.id, partition, worker.name, Receipt((1,), (version,)))
                )
        return replace(spec, found=tuple(found))

    def _step(self, event: Event) -> None:
        commands = self.decided(event)
        self.steps += 1
        self.journal.append(f"{self.now:.3f} {event}")
        self.journal.extend(f"    {command}" for command in commands)
        invariants.check(self.scheduler, self.now)
        invariants.check_commands(self.scheduler, commands, self.now)
        for command in commands:
            self._carry_out(command)

    def decided(self, event: Event) -> list[Command]:
        return self.scheduler.step(event, self.now)

    # The master's hands.

    def _carry_out(self, command: Command) -> None:
        match command:
            case LaunchTask():
                again = command.key in self.launched
                assert self.restarting or not again, f"launched twice: {command.key}"
                self.launched[command.key] = None
                self._tell(command.worker, command)
            case (
                CancelTask()
                | ReleaseBlocks()
                | ReleaseJob()
                | RequireRegistration()
                | MoveBlocks()
                | DismissWorker()
            ):
                if command.worker in self.workers:
                    self._tell(command.worker, command)
            case CommitJob():
                again = self.sinks.get(command.job) == command.sinks and self.restarting
                assert again or command.job not in self.sinks, "ordered to commit twice"
                self.sinks[command.job] = command.sinks
                failed = self.chance.random() < self.faults.failing / 4
                failure = TaskError(ErrorInfo("MS-214", "no space"), transient=True)
                answer = (
                    JobCommitFailed(command.job, failure) if failed else JobCommitted(command.job)
                )
                for _ in range(2):
                    self._send(answer, delay_s=self.chance.random() * 3, certain=True)
            case FinishJob():
                assert command.job not in self.finished, "finished twice"
                self.finished[command.job] = command
                if command.status is JobStatus.SUCCEEDED:
                    self._check_answer(command)
            case WorkerDown():
                pass
            case _:
                raise AssertionError(command)

    def _check_answer(self, finish: FinishJob) -> None:
        spec = self.jobs[finish.job]
        results = [block.key for block in finish.results]
        for keys, stages in (
            (results, [s for s in spec.stages if s.result]),
            (list(self.sinks.get(finish.job, ())), [s for s in spec.stages if s.sink]),
        ):
            expected = [(s.id, p) for s in stages for p in range(s.partitions)]
            assert [(k.stage, k.partition) for k in keys] == expected, "output is not whole"
        whole: dict[tuple[int, int], int] = {}
        for key in (*results, *self.sinks.get(finish.job, ())):
            block = self.everything[key]
            assert not block.torn, f"{key} read two versions of one block"
            for place, version in block.made_from.items():
                assert whole.setdefault(place, version) == version, f"two versions of {place}"

    # Workers.

    def _of_life(self, name: str, life: int) -> FakeWorker | None:
        worker = self.workers[name]
        return worker if worker.alive and worker.life == life else None

    def _on_register(self, name: str, life: int) -> None:
        worker = self._of_life(name, life)
        if worker is None or worker.epoch is not None:
            return
        for delay_s in self._deliveries():
            self._after(delay_s, "registering", name, life, worker.slots)
        self._after(3.0, "register", name, life)

    def _on_registering(self, name: str, life: int, slots: int) -> None:
        self.epochs += 1
        epoch = self.epochs
        self._step(WorkerRegistered(name, epoch, slots))
        for delay_s in self._deliveries():
            self._after(delay_s, "registered", name, life, epoch)

    def _on_registered(self, name: str, life: int, epoch: int) -> None:
        worker = self._of_life(name, life)
        if worker is not None and (worker.epoch is None or worker.epoch < epoch):
            worker.forget()
            worker.epoch = epoch

    def _on_beat(self, name: str, life: int) -> None:
        worker = self._of_life(name, life)
        if worker is None:
            return
        if worker.epoch is not None:
            held = (*worker.running, *(launch.key for launch in worker.queued))
            jobs = tuple(dict.fromkeys(key.job for key in worker.blocks))
            self._send(WorkerHeartbeat(name, worker.epoch, held, jobs))
            if worker.draining:
                self._send(WorkerDraining(name, worker.epoch))
        self._after(HEARTBEAT_S, "beat", name, life)

    def _on_command(self, name: str, life: int, command: Command) -> None:
        worker = self._of_life(name, life)
        if worker is None:
            return
        match command:
            case LaunchTask():
                if command.epoch == worker.epoch and command.key not in worker.taken:
                    worker.taken[command.key] = None
                    worker.queued.append(command)
                    self._fill(worker)
            case CancelTask():
                held = [launch for launch in worker.queued if launch.key == command.key]
                if held:
                    worker.queued.remove(held[0])
                if held or worker.running.pop(command.key, None):
                    self._report_failure(worker, command.key, Cancelled(), ())
                    self._fill(worker)
            case ReleaseBlocks() | ReleaseJob():
                worker.release(command)
            case RequireRegistration():
                if command.epoch == worker.epoch:
                    worker.forget()
                    self._on_register(name, life)
            case _:
                self._on_farewell(worker, command)

    def _on_farewell(self, worker: FakeWorker, command: Command) -> None:
        match command:
            case MoveBlocks():
                seconds = self.chance.choice((0.1, 2.0, 15.0)) * self.chance.random()
                if command.epoch == worker.epoch:
                    self._after(seconds, "fetched", worker.name, worker.life, command)
            case DismissWorker():
                if command.epoch == worker.epoch:
                    self._send(WorkerLeft(worker.name, command.epoch))
                    self._die(worker)
            case _:
                raise AssertionError(command)

    def _on_fetched(self, name: str, life: int, move: MoveBlocks) -> None:
        worker = self._of_life(name, life)
        if worker is None or worker.epoch != move.epoch:
            return
        brought: list[TaskKey] = []
        for ref in move.blocks:
            holder = self.workers[ref.worker]
            if holder.alive and ref.key in holder.blocks:
                worker.blocks[ref.key] = holder.blocks[ref.key]
                brought.append(ref.key)
        if brought:
            self._send(BlocksMoved(name, move.epoch, tuple(brought)))

    def _fill(self, worker: FakeWorker) -> None:
        while worker.queued and len(worker.running) < worker.slots:
            launch = worker.queued.pop(0)
            worker.running[launch.key] = launch
            seconds = self.chance.choice((0.1, 2.0, 5.0, 15.0)) * self.chance.random()
            self._after(seconds, "ended", worker.name, worker.life, launch)

    def _on_ended(self, name: str, life: int, launch: LaunchTask) -> None:
        worker = self._of_life(name, life)
        if worker is None or worker.running.pop(launch.key, None) is None:
            return
        inputs = tuple((leaf.stage, leaf.generation) for leaf in launch.inputs)
        failure = self._bad_luck()
        read: list[Block] = []
        for ref in (block for leaf in launch.inputs for block in leaf.blocks):
            holder = self.workers[ref.worker]
            if self.chance.random() < self.faults.vanish:
                holder.blocks.pop(ref.key, None)
            block = holder.blocks.get(ref.key) if holder.alive else None
            if block is None:
                k = ref.key
                failure = FetchFailed(
                    k.job, k.stage, k.generation, k.partition, k.attempt, "not there"
                )
                break
            read.append(block)
        if failure is not None:
            self._report_failure(worker, launch.key, failure, inputs)
        else:
            self._write(worker, launch, read, inputs)
        self._fill(worker)

    def _write(
        self,
        worker: FakeWorker,
        launch: LaunchTask,
        read: list[Block],
        inputs: tuple[tuple[int, int], ...],
    ) -> None:
        key = launch.key
        spec = self.jobs[key.job].stages[key.stage]
        made_from: dict[tuple[int, int], int] = {}
        torn = any(block.torn for block in read)
        for block in read:
            for place, version in block.made_from.items():
                torn = torn or made_from.setdefault(place, version) != version
        version = hash((key.stage, key.partition, *(block.version for block in read)))
        lies = self.chance.random() < self.faults.lying
        if spec.label is StageLabel.INDETERMINATE or lies:
            self.versions += 1
            version = hash((version, self.versions))
        made_from[key.stage, key.partition] = version
        block = Block(version, made_from, torn)
        worker.blocks[key] = self.everything[key] = block
        if worker.epoch is not None:
            # Rows that cannot be hashed give no proof: there the label alone must do.
            mute = spec.label is StageLabel.INDETERMINATE
            receipt = Receipt((1,), (None if mute else version,))
            self._send(TaskSucceeded(key, worker.name, worker.epoch, receipt, inputs))

    def _report_failure(
        self,
        worker: FakeWorker,
        key: TaskKey,
        failure: Failure,
        inputs: tuple[tuple[int, int], ...],
    ) -> None:
        if worker.epoch is not None:
            self._send(TaskFailed(key, worker.name, worker.epoch, failure, inputs))

    def _bad_luck(self) -> Failure | None:
        if self.chance.random() >= self.faults.failing:
            return None
        return self.chance.choice(
            (
                TaskError(ErrorInfo("MS-214", "disk full"), transient=True),
                TaskError(ErrorInfo("MS-212", f"odd {self.chance.random()}")),
                OutOfMemory(1),
                TimedOut(1.0),
                WorkerLost("executor died"),
                Cancelled(),
            )
        )

    # Bad luck, and its end.

    def _on_crash(self) -> None:
        if not self.faults.crash_every_s:
            return
        worker = self.chance.choice(list(self.workers.values()))
        if worker.alive:
            if self.chance.random() < self.faults.goodbye and worker.epoch is not None:
                self._send(WorkerLeft(worker.name, worker.epoch))
            self._die(worker)
        self._after(self.chance.random() * 2 * self.faults.crash_every_s, "crash")

    def _die(self, worker: FakeWorker) -> None:
        worker.alive = False
        self._after(self.chance.choice((0.1, 3.0, 30.0)), "restart", worker.name)

    def _on_drain(self) -> None:
        if not self.faults.drain_every_s:
            return
        worker = self.chance.choice(list(self.workers.values()))
        if worker.alive and worker.epoch is not None and not worker.draining:
            worker.draining = True
            self._send(WorkerDraining(worker.name, worker.epoch))
        self._after(self.chance.random() * 2 * self.faults.drain_every_s, "drain")

    def _on_restart(self, name: str) -> None:
        worker = self.workers[name]
        if worker.alive:
            return
        worker.forget()
        worker.blocks.clear()
        worker.taken.clear()
        worker.alive = True
        worker.life += 1
        self._on_register(name, worker.life)
        self._on_beat(name, worker.life)

    def _on_new_master(self) -> None:
        """The master is killed and comes back with what it had written down."""
        kept = json.loads(json.dumps(snapshot.dump(self.scheduler.state)))
        self.scheduler = Scheduler(self.scheduler.settings, snapshot.load(kept))
        self.restarting = True
        self._step(MasterRestarted())
        self.restarting = False

    def _on_heal(self) -> None:
        self.faults.heal()
        self.healed = True
        for name in self.workers:
            self._on_restart(name)


def run(seed: int) -> World:
    """Run one history to its end."""
    return World(seed).run()
