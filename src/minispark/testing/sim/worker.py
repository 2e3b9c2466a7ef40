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
from minispark.testing.sim.masters import Masters, SimMembership
from minispark.testing.sim.network import Network
from minispark.testing.sim.sim_clock import Act, SimClock
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
"""A message without an answer is sent again about then."""
_OUTPUT: Final = Output(OutputKind.SINGLE)

MachineEvent = Registered | Unregistered | Dispatched | CancelAsked | Ended


class FakeWorker:
    """A worker. A new process of it has another ``life``: nothing meant for one before counts."""

    def __init__(
        self,
        name: str,
        slots: int,
        agenda: SimClock,
        network: Network,
        masters: Masters,
        truth: Truth,
        chance: Random,
    ) -> None:
        self.name = name
        self.slots = slots
        self.alive = True
        self.life = 0
        self.draining = False
        self.blocks: dict[TaskKey, Block] = {}
        self.peers: dict[str, FakeWorker] = {}
        self._agenda = agenda
        self._network = network
        self._masters = masters
        self._truth = truth
        self._faults: Faults = truth.faults
        self._chance = chance
        self._frozen_until_s = self._full_until_s = 0.0
        self._begin()

    def _begin(self) -> None:
        self.machine = Machine(self.slots)
        self._known: SimMembership | None = None
        self._asked = self._answered = 0
        """How many registrations were asked for, and which of them was answered last."""
        self._running: dict[TaskKey, LaunchTask] = {}
        self._launches: dict[TaskKey, LaunchTask] = {}
        self._unsent: dict[TaskKey, TaskReport | TaskFailure] = {}
        self._sending = False
        self._last_wanted = 0
        self.draining = False
        self.blocks.clear()

    # Time, and a process that may end or stand still meanwhile.

    def start(self) -> None:
        """Register, and show signs of life from now on."""
        self._register(self.life)
        self._beat()

    def die(self, *, saying_goodbye: bool = False) -> None:
        """End the process."""
        if saying_goodbye and self.machine.epoch is not None:
            self._say((WorkerLeft(self.name, self.machine.epoch),))
        self.alive = False
        self._agenda.after(self._chance.choice((0.1, 3.0, 30.0)), self.restart)

    def restart(self) -> None:
        """Start the process again, with an empty disk."""
        if not self.alive:
            self.alive = True
            self.life += 1
            self._frozen_until_s = 0.0
            self._begin()
            self.start()

    def freeze(self, seconds: float) -> None:
        """Stand still for a while."""
        self._frozen_until_s = self._agenda.now + seconds

    def fill(self, seconds: float) -> None:
        """Have no room on the disk for a while."""
        self._full_until_s = self._agenda.now + seconds

    def jump(self, seconds: float) -> None:
        """Let the clock jump, which moves the next heartbeats."""
        self._later(seconds, self._beat_once)
        self.freeze(min(seconds, 12.0) if self._chance.random() < 0.5 else 0.0)

    def leave(self) -> None:
        """Ask to leave."""
        if self.machine.epoch is not None:
            self.draining = True
            self._say((WorkerDraining(self.name, self.machine.epoch),))

    def heal(self) -> None:
        """Be well from now on."""
        self._frozen_until_s = self._full_until_s = 0.0
        self.restart()

    @property
    def answers(self) -> bool:
        """Whether the process runs and does not stand still."""
        return self.alive and self._agenda.now >= self._frozen_until_s

    def receive(self, life: int, act: Act) -> None:
        """Take something in, unless it was meant for an earlier life."""
        if life != self.life or not self.alive:
            return
        if self.answers:
            act()
        else:
            self._agenda.after(
                self._frozen_until_s - self._agenda.now, lambda: self.receive(life, act)
            )

    def _later(self, seconds: float, act: Act) -> None:
        life = self.life
        self._agenda.after(seconds, lambda: self.receive(life, act))

    # What it says.

    def _say(self, events: tuple[Event, ...], answer: Act | None = None) -> None:
        assert self._known is not None, "it speaks before it is registered"
        life, cluster = self.life, self._known.cluster

        def answered() -> None:
            if answer is not None:
                self._network.carry(self.name, "down", lambda: self.receive(life, answer))

        told = None if answer is None else answered
        self._network.carry(
            self.name, "up", lambda: self._masters.hear(self.name, cluster, events, told)
        )

    def _register(self, life: int) -> None:
        if self.machine.epoch is not None:
            return
        self._asked += 1
        number = self._asked

        def answer(member: SimMembership) -> None:
            self._network.carry(
                self.name,
                "down",
                lambda: self.receive(life, lambda: self._registered(number, member)),
            )

        self._network.carry(
            self.name, "up", lambda: self._masters.register(self.name, self.slots, answer)
        )
        self._later(_AGAIN_S * (1 + self._chance.random()), lambda: self._register(life))

    def _registered(self, request: int, member: SimMembership) -> None:
        known = self._known
        if request < self._answered:
            return  # Over HTTP nobody waits for it any more.
        if known is not None and known.cluster == member.cluster:
            if member.master < known.master or member.epoch <= known.epoch:
                return  # An older master, whose successor is known; or a copy.
        elif known is not None:
            if request == self._answered:
                return  # One request was brought to two clusters.
            self.blocks.clear()
        self._known, self._answered = member, request
        self._unsent.clear()
        self.draining = False
        self._step(Registered(member.epoch))

    def _beat(self) -> None:
        self._beat_once()
        self._later(HEARTBEAT_S, self._beat)

    def _beat_once(self) -> None:
        epoch = self.machine.epoch
        if epoch is None:
            return
        full = "disk" if self._agenda.now < self._full_until_s else None
        held = tuple(dict.fromkeys(key.job for key in self.blocks))
        names = (*self.machine.attempts, *self._unsent)
        events: tuple[Event, ...] = (WorkerHeartbeat(self.name, epoch, names, held, full),)
        if self.draining:
            events = (*events, WorkerDraining(self.name, epoch))
        self._say(events)

    def _send(self) -> None:
        """Report what ended, until it is answered."""
        epoch = self.machine.epoch
        self._sending = bool(self._unsent) and epoch is not None
        if not self._unsent or epoch is None:
            return
        batch = dict(self._unsent)

        def answered() -> None:
            for key, outcome in batch.items():
                if self._unsent.get(key) is outcome:
                    del self._unsent[key]

        self._say(tuple(self._event(outcome, epoch) for outcome in batch.values()), answered)
        self._later(_AGAIN_S * (1 + self._chance.random()), self._send)

    def _event(self, outcome: TaskReport | TaskFailure, epoch: int) -> TaskSucceeded | TaskFailed:
        inputs = tuple((read.stage, read.generation) for read in outcome.inputs)
        if isinstance(outcome, TaskFailure):
            return TaskFailed(outcome.key, self.name, epoch, outcome.failure, inputs)
        block = self._truth.block(outcome.key, self.name)
        mute = self._label(outcome.key) is Label.INDETERMINATE
        # Rows that cannot be hashed give no proof: there the label alone must do.
        receipt = Receipt((1,), (None if mute else block.version,))
        return TaskSucceeded(outcome.key, self.name, epoch, receipt, inputs, outcome.duration_s)

    # What it is told.

    def obey(self, cluster: int, number: int, command: Command) -> None:
        """Do what the master of a cluster says, if it is said to this epoch.

        Over HTTP all that a master says answers a request, which names the cluster and the epoch;
        and it comes once, so that no release comes after the order, given later, to have such a
        block again: an earlier ``number`` tells.
        """
        if self._known is None or self._known.cluster != cluster:
            return
        if isinstance(command, ReleaseBlocks | ReleaseJob) and number < self._last_wanted:
            return
        if isinstance(command, LaunchTask | MoveBlocks):
            self._last_wanted = max(self._last_wanted, number)
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
                    self._obey_now(command)
            case _:
                raise AssertionError(command)

    def _obey_now(
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
                seconds = self._chance.choice((0.1, 2.0, 15.0)) * self._chance.random()
                self._later(seconds, lambda: self._fetch(command))
            case DismissWorker():
                self.die(saying_goodbye=True)

    def disown(self, cluster: int) -> None:
        """Hear from a master that it knows no member of that cluster."""
        member = self._known if self.machine.epoch is not None else None
        if member is not None and member.cluster == cluster:
            self._register_again()

    def _register_again(self) -> None:
        self._step(Unregistered())
        self._register(self.life)

    def _delete(self, key: TaskKey) -> None:
        if self.blocks.pop(key, None) is not None:
            self._masters.deletes(self.name, key)

    def _fetch(self, move: MoveBlocks) -> None:
        if self.machine.epoch != move.epoch or self._agenda.now < self._full_until_s:
            return
        brought: list[TaskKey] = []
        for ref in move.blocks:
            block = self._read(ref)
            if isinstance(block, Block):
                self.blocks[ref.key] = block
                self._truth.moved(block, self.name)
                brought.append(ref.key)
        if brought:
            self._say((BlocksMoved(self.name, move.epoch, tuple(brought)),))

    # Attempts.

    def _step(self, event: MachineEvent) -> None:
        if isinstance(event, Registered | Unregistered):
            self._launches.clear()
        for command in self.machine.step(event):
            match command:
                case Run(spec):
                    self._run(self._launches[spec.key])
                case Stop(key):
                    self._later(self._chance.random(), partial(self._stop, key))
                case Report(outcome):
                    self._unsent[outcome.key] = outcome
                    if not self._sending:
                        self._send()
                case Discard(key):
                    self.blocks.pop(key, None)

    def _run(self, launch: LaunchTask) -> None:
        seconds = self._chance.choice((0.1, 2.0, 5.0, 15.0)) * self._chance.random()
        if self._faults.strikes("straggling"):
            seconds *= 10.0
        self._running[launch.key] = launch
        refs = [block for leaf in launch.inputs for block in leaf.blocks]
        # Some of its input is read at once, the rest in the end: meanwhile it may be lost.
        early = self._chance.randint(0, len(refs)) if self._chance.random() < 0.5 else 0
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
        failure = self._bad_luck() or self._read_all(rest, read)
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

    def _bad_luck(self) -> Failure | None:
        if self._agenda.now < self._full_until_s:
            return NO_SPACE
        if self._faults.strikes("fatal"):
            bad = ErrorInfo("MS-211", "no number", file="a.csv", row=3)
            return TaskError(self._chance.choice((bad, ErrorInfo("MS-212", "division by zero"))))
        if self._faults.strikes("failing"):
            odd = TaskError(ErrorInfo("MS-212", f"odd {self._chance.random()}"))
            return self._chance.choice((*FAILURES, odd))
        return None

    def _label(self, key: TaskKey) -> Label:
        return self._truth.specs[key.job].stages[key.stage].label

    def _salt(self, key: TaskKey) -> int:
        indeterminate = self._label(key) is Label.INDETERMINATE
        return self._truth.salt() if indeterminate or self._faults.strikes("lying") else 0

    def _read_all(self, refs: list[BlockRef], read: list[tuple[Block, int]]) -> FetchFailed | None:
        for ref in refs:
            block = self._read(ref)
            if isinstance(block, str):
                k = ref.key
                return FetchFailed(*k, block)
            read.append((block, ref.partition))
        return None

    def _read(self, ref: BlockRef) -> Block | str:
        """Read a block where it is said to be; a sentence if that fails."""
        holder = self.peers[ref.worker]
        if not holder.answers:
            return "no answer"
        if not self._network.reads(self.name, holder.name):
            return "no way there"
        if self._faults.strikes("vanish"):
            holder.blocks.pop(ref.key, None)
        block = holder.blocks.get(ref.key)
        if block is None:
            return "not there"
        if self._faults.strikes("corrupt"):
            block = holder.blocks[ref.key] = replace(block, corrupt=True)
        return "does not fit its checksum" if block.corrupt else block
