"""A fake worker around the real `Machine`: runs attempts by waiting, holds blocks, fails."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

from minispark.blocks.meta import BlockMeta, Receipt
from minispark.errors import Cancelled, ErrorInfo, Failure, FetchFailed, TaskError
from minispark.ids import TaskKey
from minispark.plan.stages import Label, Output, OutputKind
from minispark.scheduler.commands import (
    BlockRef,
    CancelTask,
    Command,
    DismissWorker,
    LaunchTask,
    MoveBlocks,
    ReleaseBlocks,
    ReleaseJob,
    RequireRegistration,
)
from minispark.scheduler.events import (
    BlocksMoved,
    Event,
    TaskFailed,
    TaskSucceeded,
    WorkerDraining,
    WorkerHeartbeat,
    WorkerLeft,
)
from minispark.task.spec import InputGeneration, TaskFailure, TaskReport, TaskSpec
from minispark.testing.sim.blocks import Block, make_block
from minispark.testing.sim.faults import Faults
from minispark.testing.sim.network import Act, Masters, Network, SimClock, SimMembership
from minispark.testing.sim.truth import FAILURES, NO_SPACE, Truth
from minispark.worker.machine import (
    CancelAsked,
    Discard,
    Dispatched,
    Ended,
    Machine,
    Registered,
    Report,
    Run,
    Stop,
    Unregistered,
)

HEARTBEAT_S: Final = 2.0
_AGAIN_S: Final = 1.0
"""About the time after which a message without an answer is sent again."""
_OUTPUT: Final = Output(OutputKind.SINGLE)

MachineEvent = Registered | Unregistered | Dispatched | CancelAsked | Ended


class FakeWorker:
    """A worker. Each process has another ``life``; messages to an earlier life are dropped."""

    def __init__(
        self,
        name: str,
        slots: int,
        clock: SimClock,
        network: Network,
        masters: Masters,
        truth: Truth,
        rng: Random,
    ) -> None:
        self.name = name
        self.slots = slots
        self.alive = True
        self.life = 0
        self.draining = False
        self.blocks: dict[TaskKey, Block] = {}
        self.peers: dict[str, FakeWorker] = {}
        self._clock = clock
        self._network = network
        self._masters = masters
        self._truth = truth
        self._faults: Faults = truth.faults
        self._rng = rng
        self._frozen_until_s = self._full_until_s = 0.0
        self._begin()

    def _begin(self) -> None:
        self.machine = Machine(self.slots)
        self._membership: SimMembership | None = None
        self._requests = self._last_answered = 0
        """Number of registration requests, and the number of the last one that was answered."""
        self._running: dict[TaskKey, LaunchTask] = {}
        self._launches: dict[TaskKey, LaunchTask] = {}
        self._unsent: dict[TaskKey, TaskReport | TaskFailure] = {}
        self._sending = False
        self._last_order = 0
        self.draining = False
        self.blocks.clear()

    # The process: it may end or hang at any time.

    def start(self) -> None:
        """Register, and send heartbeats from now on."""
        self._register(self.life)
        self._heartbeat()

    def die(self, *, saying_goodbye: bool = False) -> None:
        """End the process."""
        if saying_goodbye and self.machine.epoch is not None:
            self._send_events((WorkerLeft(self.name, self.machine.epoch),))
        self.alive = False
        self._clock.after(self._rng.choice((0.1, 3.0, 30.0)), self.restart)

    def restart(self) -> None:
        """Start the process again, with an empty disk."""
        if not self.alive:
            self.alive = True
            self.life += 1
            self._frozen_until_s = 0.0
            self._begin()
            self.start()

    def freeze(self, seconds: float) -> None:
        """Hang for a while."""
        self._frozen_until_s = self._clock.now + seconds

    def fill(self, seconds: float) -> None:
        """Fill the disk for a while."""
        self._full_until_s = self._clock.now + seconds

    def jump(self, seconds: float) -> None:
        """Let the clock jump, which changes the times of the next heartbeats."""
        self._later(seconds, self._send_heartbeat)
        self.freeze(min(seconds, 12.0) if self._rng.random() < 0.5 else 0.0)

    def leave(self) -> None:
        """Ask to leave."""
        if self.machine.epoch is not None:
            self.draining = True
            self._send_events((WorkerDraining(self.name, self.machine.epoch),))

    def heal(self) -> None:
        """End all faults, and restart if the process has ended."""
        self._frozen_until_s = self._full_until_s = 0.0
        self.restart()

    @property
    def answers(self) -> bool:
        """Whether the process runs and does not hang."""
        return self.alive and self._clock.now >= self._frozen_until_s

    def receive(self, life: int, act: Act) -> None:
        """Run an action now, or after a hang; drop it if it belongs to an earlier life."""
        if life != self.life or not self.alive:
            return
        if self.answers:
            act()
        else:
            self._clock.after(
                self._frozen_until_s - self._clock.now, lambda: self.receive(life, act)
            )

    def _later(self, seconds: float, act: Act) -> None:
        life = self.life
        self._clock.after(seconds, lambda: self.receive(life, act))

    # Messages to the master.

    def _send_events(self, events: tuple[Event, ...], answer: Act | None = None) -> None:
        assert self._membership is not None, "it speaks before it is registered"
        life, cluster = self.life, self._membership.cluster

        def answered() -> None:
            if answer is not None:
                self._network.carry(self.name, "down", lambda: self.receive(life, answer))

        on_answer = None if answer is None else answered
        self._network.carry(
            self.name, "up", lambda: self._masters.receive(self.name, cluster, events, on_answer)
        )

    def _register(self, life: int) -> None:
        if self.machine.epoch is not None:
            return
        self._requests += 1
        number = self._requests

        def answer(member: SimMembership) -> None:
            self._network.carry(
                self.name,
                "down",
                lambda: self.receive(life, lambda: self._registered(number, member)),
            )

        self._network.carry(
            self.name, "up", lambda: self._masters.register(self.name, self.slots, answer)
        )
        self._later(_AGAIN_S * (1 + self._rng.random()), lambda: self._register(life))

    def _registered(self, request: int, member: SimMembership) -> None:
        current = self._membership
        if request < self._last_answered:
            return  # With HTTP no request waits for this answer any more.
        if current is not None and current.cluster == member.cluster:
            if member.master < current.master or member.epoch <= current.epoch:
                return  # From an older master than the current one, or a repeated answer.
        elif current is not None:
            if request == self._last_answered:
                return  # One request was fetched to two clusters.
            self.blocks.clear()
        self._membership, self._last_answered = member, request
        self._unsent.clear()
        self.draining = False
        self._step(Registered(member.epoch))

    def _heartbeat(self) -> None:
        self._send_heartbeat()
        self._later(HEARTBEAT_S, self._heartbeat)

    def _send_heartbeat(self) -> None:
        epoch = self.machine.epoch
        if epoch is None:
            return
        full = "disk" if self._clock.now < self._full_until_s else None
        jobs = tuple(dict.fromkeys(key.job for key in self.blocks))
        names = (*self.machine.attempts, *self._unsent)
        events: tuple[Event, ...] = (WorkerHeartbeat(self.name, epoch, names, jobs, full),)
        if self.draining:
            events = (*events, WorkerDraining(self.name, epoch))
        self._send_events(events)

    def _send(self) -> None:
        """Send reports of ended attempts until the master has answered."""
        epoch = self.machine.epoch
        self._sending = bool(self._unsent) and epoch is not None
        if not self._unsent or epoch is None:
            return
        batch = dict(self._unsent)

        def answered() -> None:
            for key, outcome in batch.items():
                if self._unsent.get(key) is outcome:
                    del self._unsent[key]

        self._send_events(
            tuple(self._event(outcome, epoch) for outcome in batch.values()), answered
        )
        self._later(_AGAIN_S * (1 + self._rng.random()), self._send)

    def _event(self, outcome: TaskReport | TaskFailure, epoch: int) -> TaskSucceeded | TaskFailed:
        inputs = tuple((read.stage, read.generation) for read in outcome.inputs)
        if isinstance(outcome, TaskFailure):
            return TaskFailed(outcome.key, self.name, epoch, outcome.failure, inputs)
        block = self._truth.block(outcome.key, self.name)
        unhashable = self._label(outcome.key) is Label.INDETERMINATE
        # Rows that cannot be hashed give no proof: then only the label tells.
        receipt = Receipt((1,), (None if unhashable else block.version,))
        return TaskSucceeded(outcome.key, self.name, epoch, receipt, inputs, outcome.duration_s)

    # Commands.

    def execute(self, cluster: int, number: int, command: Command) -> None:
        """Carry out a command from the master of a cluster, if it is for this epoch.

        With HTTP a command is part of the answer to a request, which names the cluster and the
        epoch, and it arrives once. So no release arrives after a later command that needs the same
        block again: a release with a lower ``number`` is dropped.
        """
        if self._membership is None or self._membership.cluster != cluster:
            return
        if isinstance(command, ReleaseBlocks | ReleaseJob) and number < self._last_order:
            return
        if isinstance(command, LaunchTask | MoveBlocks):
            self._last_order = max(self._last_order, number)
        match command:
            case ReleaseBlocks(keys=keys):
                for key in keys:
                    self._delete(key)
            case ReleaseJob():
                for key in [key for key in self.blocks if key.job == command.job]:
                    self._delete(key)
            case (
                LaunchTask()
                | CancelTask()
                | RequireRegistration()
                | MoveBlocks()
                | (DismissWorker())
            ):
                if command.epoch == self.machine.epoch:
                    self._execute_now(command)
            case _:
                raise AssertionError(command)

    def _execute_now(
        self, command: LaunchTask | CancelTask | RequireRegistration | MoveBlocks | DismissWorker
    ) -> None:
        match command:
            case LaunchTask():
                self._launches.setdefault(command.key, command)
                self._step(Dispatched((TaskSpec(command.key, b"", (), (), _OUTPUT),)))
            case CancelTask():
                self._step(CancelAsked((command.key,)))
            case RequireRegistration():
                self._register_again()
            case MoveBlocks():
                seconds = self._rng.choice((0.1, 2.0, 15.0)) * self._rng.random()
                self._later(seconds, lambda: self._fetch(command))
            case DismissWorker():
                self.die(saying_goodbye=True)

    def disown(self, cluster: int) -> None:
        """Register again, as the master does not belong to that cluster."""
        member = self._membership if self.machine.epoch is not None else None
        if member is not None and member.cluster == cluster:
            self._register_again()

    def _register_again(self) -> None:
        self._step(Unregistered())
        self._register(self.life)

    def _delete(self, key: TaskKey) -> None:
        if self.blocks.pop(key, None) is not None:
            self._masters.note_deletion(self.name, key)

    def _fetch(self, move: MoveBlocks) -> None:
        if self.machine.epoch != move.epoch or self._clock.now < self._full_until_s:
            return
        fetched: list[TaskKey] = []
        for ref in move.blocks:
            block = self._read(ref)
            if isinstance(block, Block):
                self.blocks[ref.key] = block
                self._truth.moved(block, self.name)
                fetched.append(ref.key)
        if fetched:
            self._send_events((BlocksMoved(self.name, move.epoch, tuple(fetched)),))

    # Attempts.

    def _step(self, event: MachineEvent) -> None:
        if isinstance(event, Registered | Unregistered):
            self._launches.clear()
        for command in self.machine.step(event):
            match command:
                case Run(spec):
                    self._run(self._launches[spec.key])
                case Stop(key):
                    self._later(self._rng.random(), partial(self._stop, key))
                case Report(outcome):
                    self._unsent[outcome.key] = outcome
                    if not self._sending:
                        self._send()
                case Discard(key):
                    self.blocks.pop(key, None)

    def _run(self, launch: LaunchTask) -> None:
        seconds = self._rng.choice((0.1, 2.0, 5.0, 15.0)) * self._rng.random()
        if self._faults.occurs("straggling"):
            seconds *= 10.0
        self._running[launch.key] = launch
        refs = [block for leaf in launch.inputs for block in leaf.blocks]
        # A part of the input is read at once, the rest at the end: it may be lost in between.
        early = self._rng.randint(0, len(refs)) if self._rng.random() < 0.5 else 0
        read: list[tuple[Block, int]] = []
        failure = self._read_all(refs[:early], read)
        if failure is not None:
            self._later(0.0, lambda: self._end(launch, failure))
        else:
            self._later(seconds, lambda: self._finish(launch, refs[early:], read))

    def _stop(self, key: TaskKey) -> None:
        if key in self._running:
            del self._running[key]
            self._step(Ended(TaskFailure(key, Cancelled())))

    def _finish(
        self, launch: LaunchTask, rest: list[BlockRef], read: list[tuple[Block, int]]
    ) -> None:
        if self._running.get(launch.key) is not launch:
            return
        failure = self._draw_failure() or self._read_all(rest, read)
        if failure is None:
            salt = self._salt(launch.key)
            block = make_block(launch.key, read, salt)
            self._truth.wrote(block, self.name)
            self.blocks[launch.key] = block
        self._end(launch, failure)

    def _end(self, launch: LaunchTask, failure: Failure | None) -> None:
        key = launch.key
        if self._running.get(key) is not launch:
            return
        del self._running[key]
        inputs = tuple(InputGeneration(leaf.stage, leaf.generation) for leaf in launch.inputs)
        if failure is None:
            self._step(Ended(TaskReport(key, BlockMeta(()), inputs)))
        else:
            self._truth.failed(key, failure)
            self._step(Ended(TaskFailure(key, failure, inputs)))

    def _draw_failure(self) -> Failure | None:
        if self._clock.now < self._full_until_s:
            return NO_SPACE
        if self._faults.occurs("fatal"):
            bad = ErrorInfo("MS-211", "no number", file="a.csv", row=3)
            return TaskError(self._rng.choice((bad, ErrorInfo("MS-212", "division by zero"))))
        if self._faults.occurs("failing"):
            odd = TaskError(ErrorInfo("MS-212", f"odd {self._rng.random()}"))
            return self._rng.choice((*FAILURES, odd))
        return None

    def _label(self, key: TaskKey) -> Label:
        return self._truth.specs[key.job].stages[key.stage].label

    def _salt(self, key: TaskKey) -> int:
        indeterminate = self._label(key) is Label.INDETERMINATE
        return self._truth.salt() if indeterminate or self._faults.occurs("lying") else 0

    def _read_all(self, refs: list[BlockRef], read: list[tuple[Block, int]]) -> FetchFailed | None:
        for ref in refs:
            block = self._read(ref)
            if isinstance(block, str):
                k = ref.key
                return FetchFailed(*k, block)
            read.append((block, ref.partition))
        return None

    def _read(self, ref: BlockRef) -> Block | str:
        """Return a block from the worker of its reference, or why it cannot be read."""
        holder = self.peers[ref.worker]
        if not holder.answers:
            return "no answer"
        if not self._network.reads(self.name, holder.name):
            return "no way there"
        if self._faults.occurs("vanish"):
            holder.blocks.pop(ref.key, None)
        block = holder.blocks.get(ref.key)
        if block is None:
            return "not there"
        if self._faults.occurs("corrupt"):
            block = holder.blocks[ref.key] = replace(block, corrupt=True)
        return "does not fit its checksum" if block.corrupt else block
