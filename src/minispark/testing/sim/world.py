"""A simulated cluster: one seed gives one history.

In phase 1 faults occur. In phase 2 there are none, and every job has to end within a time limit,
with the right answer or with a failure that the faults explain. Then all jobs are released, and no
process may have any data of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from minispark.blocks.meta import Receipt
from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.scheduler import snapshot
from minispark.scheduler.commands import Command, JobStatus
from minispark.scheduler.events import Event, JobCancelRequested, JobReleased, JobSubmitted
from minispark.scheduler.spec import CachedOutput, JobSpec
from minispark.settings import SchedulerSettings
from minispark.testing.sim.blocks import cached_block
from minispark.testing.sim.fault_injector import FaultInjector
from minispark.testing.sim.faults import Faults
from minispark.testing.sim.jobs import draw_job, repeatable_stages
from minispark.testing.sim.journal import SimRow, StateDir
from minispark.testing.sim.master import Master, MasterEnvironment
from minispark.testing.sim.network import LATE_S, Act, Network, SimClock, SimMembership
from minispark.testing.sim.options import RandomSource, SimOptions
from minispark.testing.sim.truth import Truth
from minispark.testing.sim.worker import FakeWorker

MAX_JOBS: Final = 3
MAX_WORKERS: Final = 4
_PATIENCE_S: Final = 900.0
_SETTLE_S: Final = 60.0
_MAX_STEPS: Final = 50_000
"""A longer history will not end; a usual one has a thousand steps."""
_TAIL: Final = 30
_GRAIN_S: Final = 1e-9
_SETTINGS: Final = SchedulerSettings(no_worker_grace_s=20.0)
"""The defaults, except a grace time that can end before all faults have ended."""


class SimulationError(AssertionError):
    """A history failed; ``options`` repeat it."""

    def __init__(self, options: SimOptions, reason: str, story: str) -> None:
        super().__init__(f"{options.command}\n{reason}\n{story}")
        self.options = options
        self.reason = reason
        self.story = story


@dataclass(frozen=True, slots=True)
class SimHistory:
    """The result of a history."""

    options: SimOptions
    steps: int
    ends: tuple[tuple[str, JobStatus], ...]
    fault_counts: tuple[tuple[str, int], ...]
    """Faults that happened, by kind."""
    digest: str
    """Hash of all rows of all masters."""


class World:
    """Masters, workers, network and clients.

    ``observer`` gets every row when a master applies it, ``reader`` when it is durable and carried
    out.
    """

    def __init__(
        self,
        options: SimOptions,
        *,
        observer: Callable[[Master, SimRow], None] | None = None,
        reader: Callable[[Master, SimRow], None] = lambda _master, _row: None,
    ) -> None:
        self.options = options
        rngs = RandomSource(options.seed)
        self.clock = SimClock()
        self.faults = Faults(rngs.of("faults"), options.without)
        policies: tuple[Literal["fair", "fifo"], ...] = ("fair", "fair", "fifo")
        settings = replace(_SETTINGS, policy=rngs.of("settings").choice(policies))
        self.truth = Truth(self.faults, settings)
        self.network = Network(self.clock, self.faults, rngs.of("network"))
        self.observer = observer
        self.rows: list[tuple[float, int, SimRow]] = []
        self.healed = False
        self._orders = 0
        self._rng = rngs.of("world")
        self._environment = MasterEnvironment(
            self.clock, self.truth, self, settings, rngs.of("master"), reader
        )
        self.master = self._start(StateDir(cluster=0))
        self.replaced_master: Master | None = None
        """A running master whose place another one has taken."""
        self._bound_workers: dict[str, None] = {}
        """Workers that still listen to the replaced master."""
        self.workers = self._draw_workers(rngs)
        self.jobs: dict[str, JobSpec] = {}
        """Jobs that a client waits for, by name."""
        for number in range(self._rng.randint(1, MAX_JOBS)):
            spec = draw_job(rngs.of(f"job {number}"), f"j{number}")
            if options.jobs is None or number in options.jobs:
                self.jobs[spec.job] = self.truth.specs[spec.job] = spec
        if not self.jobs or not self.workers:
            msg = f"no {'jobs' if self.workers else 'workers'} are left of seed {options.seed}"
            raise UsageError(msg, hint="Keep some that it has.")
        self._fault_injector = FaultInjector(self, rngs.of("misfortune"))

    @property
    def job_numbers(self) -> tuple[int, ...]:
        """Numbers of the drawn jobs that the world has, before it begins."""
        return tuple(int(name.removeprefix("j")) for name in self.jobs)

    @property
    def worker_numbers(self) -> tuple[int, ...]:
        """Numbers of the drawn workers that the world has."""
        return tuple(int(name.removeprefix("w")) for name in self.workers)

    def _draw_workers(self, rngs: RandomSource) -> dict[str, FakeWorker]:
        workers: dict[str, FakeWorker] = {}
        for number in range(self._rng.randint(1, MAX_WORKERS)):
            slots, name = self._rng.choice((1, 1, 2, 3)), f"w{number}"
            if self.options.workers is None or number in self.options.workers:
                workers[name] = FakeWorker(
                    name,
                    slots,
                    self.clock,
                    self.network,
                    self,
                    self.truth,
                    rngs.of(f"worker {number}"),
                )
        for worker in workers.values():
            worker.peers = workers
        return workers

    # The history.

    def run(self) -> SimHistory:
        """Run the history to its end.

        Raises
        ------
        SimulationError
            The scheduler did something wrong, or a job did not end.
        """
        try:
            self._begin()
            while not self._over():
                for _ in range(8):  # The end is checked only from time to time.
                    self._tick()
            self._close()
        # Any exception is a finding.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            story = f"faults: {self.faults.drawn}\n{self.story(last=_TAIL)}"
            raise SimulationError(self.options, reason, story) from error
        return SimHistory(
            self.options,
            len(self.rows),
            tuple((job, finish.status) for job, finish in self.truth.ended.items()),
            tuple(sorted(self.faults.counts.items())),
            self.digest,
        )

    @property
    def digest(self) -> str:
        """Hash of the journals of all masters."""
        return hashlib.sha256(self.story().encode()).hexdigest()

    def story(self, *, last: int | None = None) -> str:
        """Return the rows of all masters as text, or its last lines."""
        rows = self.rows if last is None else self.rows[-last:]
        lines: list[str] = []
        for at_s, life, row in rows:
            lines.append(f"{at_s:.3f} master {life}: {row.fact}")
            lines.extend(f"    {command}" for command in row.commands)
        return "\n".join(lines if last is None else lines[-last:])

    def _begin(self) -> None:
        rng = self._rng
        self.master.begin()
        for worker in self.workers.values():
            self.clock.after(rng.random() * 5, worker.start)
        for name in self.jobs:
            self.clock.after(rng.random() * 10, partial(self.submit, name))
            if rng.random() < 0.1:
                at_s = rng.random() * self.options.until_s
                self.clock.after(at_s, partial(self._cancel, name))
        self._fault_injector.begin()
        self.clock.after(self.options.until_s, self.heal)

    @property
    def unfinished(self) -> list[str]:
        """Jobs that have not ended."""
        return [name for name in self.jobs if name not in self.truth.ended]

    def _over(self) -> bool:
        if self.clock.now > self.options.until_s + _PATIENCE_S or len(self.rows) > _MAX_STEPS:
            msg = f"jobs did not end: {self.unfinished}"
            raise AssertionError(msg)
        if not self.unfinished and not self.healed:
            self.heal()
        return self.healed and not self.unfinished and self.master.alive

    def _tick(self) -> None:
        first, wake_s = self.master, self.master.wake_s
        replaced_master = self.replaced_master
        if replaced_master is not None and replaced_master.wake_s < wake_s:
            first, wake_s = replaced_master, replaced_master.wake_s
        if wake_s <= self.clock.next_s:
            # A little later, as the conversion to the master's own time rounds.
            self.clock.now = max(self.clock.now, wake_s + _GRAIN_S)
            first.fire()
            assert first.wake_s > self.clock.now, "the timer fires for nothing, for ever"
        else:
            self.clock.step()

    def _close(self) -> None:
        """Release every job, and check that no process has data of one."""
        master, workers = self.master, list(self.workers.values())
        for name in self.jobs:
            for _ in range(2):
                master.feed(JobReleased(name))
            assert master.scheduler.is_empty_of(name), f"something is left of {name}"
            text = json.dumps(snapshot.dump(master.scheduler.state))
            assert f'"{name}"' not in text, f"something is left of {name}: {text}"
        assert not any(master.scheduler.active_attempts(name) for name in self.workers)
        # A worker that was away when a job ended learns it when its heartbeat names the job;
        # late messages may still arrive until then.
        begin_s = self.clock.now
        while self.clock.now < begin_s + _SETTLE_S:
            busy = any(worker.blocks or worker.machine.attempts for worker in workers)
            if self.clock.now > begin_s + LATE_S and not busy:
                break
            self._tick()
        for worker in workers:
            blocks = list(worker.blocks)
            assert not blocks, f"{worker.name} keeps blocks for ever: {blocks}"
            idle = not worker.alive or not worker.machine.attempts
            assert idle, f"{worker.name} works for nobody"
        master.kill()

    # Masters.

    def _start(self, state_dir: StateDir) -> Master:
        master = Master(self._environment, state_dir, lambda row: self._log(master, row))
        return master

    def _log(self, master: Master, row: SimRow) -> None:
        self.rows.append((self.clock.now, master.state_dir.life, row))
        if self.observer is not None:
            self.observer(master, row)

    def restart(self, *, down_s: float, loses: float = 0.0) -> None:
        """Kill the master and start it again on its state directory.

        ``loses`` is the share of rows without sync that is lost.
        """
        old = self.master
        if old.alive:
            old.kill()
            if loses:
                old.state_dir.cut_power(loses)
            self.clock.after(down_s, lambda: self._start_successor(old.state_dir))

    def take_over(self, *, for_s: float) -> None:
        """Start a second master on a copy of the state directory; the first runs for a while.

        The second one has the address from now on, except for workers still bound to the first.
        """
        old = self.master
        if not old.alive or (self.replaced_master is not None and self.replaced_master.alive):
            return
        # The lock on the state directory keeps two masters from publishing to the same place.
        old.replaced = True
        self.replaced_master = old
        self._bound_workers = {n: None for n in self.workers if self._rng.random() < 0.5}
        self._start_successor(old.state_dir.copy())
        self.clock.after(for_s, old.kill)

    def wipe(self) -> None:
        """Start a master on an empty state directory; clients submit unfinished jobs again."""
        old = self.master
        if not old.alive:
            return
        old.kill()
        cluster = old.state_dir.cluster + 1
        for name in self.unfinished:
            spec = replace(self.jobs.pop(name), job=f"{name.partition('-')[0]}-{cluster}")
            self.jobs[spec.job] = self.truth.specs[spec.job] = spec
            self.clock.after(1.0, partial(self.submit, spec.job))
        self._start_successor(StateDir(cluster))

    def _start_successor(self, state_dir: StateDir) -> None:
        self.master = self._start(state_dir)
        self.master.begin()

    # The address of the master (`Masters`, `Messenger`).

    def _master_of(self, worker: str) -> Master:
        replaced_master = self.replaced_master
        bound = (
            replaced_master is not None and replaced_master.alive and worker in self._bound_workers
        )
        return replaced_master if bound and replaced_master is not None else self.master

    def register(self, worker: str, slots: int, answer: Callable[[SimMembership], None]) -> None:
        """Take a registration (`Masters`)."""
        self._master_of(worker).register(worker, slots, answer)

    def receive(
        self, worker: str, cluster: int, events: tuple[Event, ...], answer: Act | None = None
    ) -> None:
        """Take a message (`Masters`)."""
        master = self._master_of(worker)
        if cluster == master.state_dir.cluster:
            master.receive(events, answer)
        elif master.alive:
            self._deliver(worker, lambda process: process.disown(cluster))

    def note_deletion(self, worker: str, key: TaskKey) -> None:
        """Check that the scheduler does not need a block that was deleted by order."""
        if self.faults.counts["twin"] or self.faults.counts["power"]:
            # Another master, or one with more rows, gave the order: the block is lost.
            return
        state = self._master_of(worker).scheduler.state
        job, holder = state.jobs.get(key.job), state.workers.get(worker)
        counts = job is not None and holder is not None and job.counts_on(key)
        if counts and self.truth.is_cached(key):
            return  # In a real cluster a cache has the block under a name of its own.
        epoch = self.workers[worker].machine.epoch
        current = holder is not None and holder.up and holder.epoch == epoch and holder.holds(key)
        assert not (counts and current), f"{worker} was told to delete what is needed: {key}"

    def send(self, master: Master, worker: str, command: Command) -> None:
        """Send a command to a worker (`Messenger`)."""
        if worker in self.workers and self._master_of(worker) is master:
            self._orders += 1
            cluster, number = master.state_dir.cluster, self._orders
            self._deliver(worker, lambda process: process.execute(cluster, number, command))

    def _deliver(self, worker: str, act: Callable[[FakeWorker], None]) -> None:
        process = self.workers[worker]
        life = process.life
        self.network.carry(worker, "down", lambda: process.receive(life, lambda: act(process)))

    # Clients.

    def submit(self, name: str) -> None:
        """Submit a job, and repeat this until there is an answer."""
        answered: list[None] = []
        spec = self.jobs.get(name)
        if spec is None:
            return  # A wiped cluster has it under another name.
        if self._rng.random() < 0.3:
            spec = replace(spec, found=self._draw_cached_outputs(spec))
        event = JobSubmitted(spec)

        def attempt() -> None:
            if not answered and name in self.jobs:
                self.master.submit(event, lambda: answered.append(None))
                self.clock.after(2.0, attempt)

        attempt()

    def _draw_cached_outputs(self, spec: JobSpec) -> tuple[CachedOutput, ...]:
        """Draw outputs that workers have cached from earlier jobs; some are gone already."""
        outputs: list[CachedOutput] = []
        up = [worker for worker in self.workers.values() if worker.machine.epoch is not None]
        for stage in repeatable_stages(spec) if up else ():
            share = self._rng.choice((0.0, 0.5, 1.0))
            for partition in range(stage.partitions):
                if self._rng.random() >= share:
                    continue
                worker = self._rng.choice(up)
                block = cached_block(spec, TaskKey(spec.job, stage.id, 0, partition, 0))
                self.truth.cached(block, worker.name)
                if not self.faults.occurs("vanish"):
                    worker.blocks[block.key] = block
                receipt = Receipt((1,), (block.version,))
                outputs.append(CachedOutput(stage.id, partition, worker.name, receipt))
        return tuple(outputs)

    def _cancel(self, name: str) -> None:
        if name in self.jobs:
            self.truth.cancelled[name] = None
            self.master.receive((JobCancelRequested(name),), None)

    def heal(self) -> None:
        """End all faults."""
        if self.healed:
            return
        self.healed = True
        self.faults.heal()
        self.network.heal()
        for master in (self.master, self.replaced_master):
            if master is not None:
                master.journal.heal()
        if self.replaced_master is not None:
            self.replaced_master.kill()
        for worker in self.workers.values():
            worker.heal()


def run(seed: int) -> SimHistory:
    """Return the history of a seed."""
    return World(SimOptions(seed)).run()
