"""A world for the scheduler: from a seed to the end of its history.

Phase 1 breaks things. Phase 2 heals everything, and every job has to end within a bound, with the
right answer or for a reason that what was broken explains. Then all is released, and nothing may
be left anywhere.
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
from minispark.testing.sim.blocks import kept_block
from minispark.testing.sim.fault_injector import FaultInjector
from minispark.testing.sim.faults import Faults
from minispark.testing.sim.jobs import draw_job, steady
from minispark.testing.sim.journal import SimRow, StateDir
from minispark.testing.sim.master import Master, MasterEnvironment
from minispark.testing.sim.masters import SimMembership
from minispark.testing.sim.network import LATE_S, Network
from minispark.testing.sim.options import Chances, SimOptions
from minispark.testing.sim.sim_clock import Act, SimClock
from minispark.testing.sim.truth import Truth
from minispark.testing.sim.worker import FakeWorker

MOST_JOBS: Final = 3
MOST_WORKERS: Final = 4
_PATIENCE_S: Final = 900.0
_SETTLE_S: Final = 60.0
_MOST_STEPS: Final = 50_000
"""A history that takes more goes in circles; usual ones take a thousand."""
_TAIL: Final = 30
_GRAIN_S: Final = 1e-9
_SETTINGS: Final = SchedulerSettings(no_worker_grace_s=20.0)
"""As they are, but for a patience that can run out before all heals."""


class SimulationError(AssertionError):
    """A history that went wrong, and the recipe that makes it again."""

    def __init__(self, recipe: SimOptions, reason: str, story: str) -> None:
        super().__init__(f"{recipe.command}\n{reason}\n{story}")
        self.recipe = recipe
        self.reason = reason
        self.story = story


@dataclass(frozen=True, slots=True)
class SimHistory:
    """How a history went."""

    recipe: SimOptions
    steps: int
    ends: tuple[tuple[str, JobStatus], ...]
    struck: tuple[tuple[str, int], ...]
    """Faults that happened, by kind."""
    digest: str
    """Of everything that any master took in and decided."""


class World:
    """Everything there is.

    ``witness`` gets every row as a master applies it, ``reader`` once it is durable and carried
    out.
    """

    def __init__(
        self,
        recipe: SimOptions,
        *,
        witness: Callable[[Master, SimRow], None] | None = None,
        reader: Callable[[Master, SimRow], None] = lambda _master, _row: None,
    ) -> None:
        self.recipe = recipe
        chances = Chances(recipe.seed)
        self.agenda = SimClock()
        self.faults = Faults(chances.of("faults"), recipe.without)
        policies: tuple[Literal["fair", "fifo"], ...] = ("fair", "fair", "fifo")
        settings = replace(_SETTINGS, policy=chances.of("settings").choice(policies))
        self.truth = Truth(self.faults, settings)
        self.network = Network(self.agenda, self.faults, chances.of("network"))
        self.witness = witness
        self.rows: list[tuple[float, int, SimRow]] = []
        self.healed = False
        self._orders = 0
        self._chance = chances.of("world")
        self._around = MasterEnvironment(
            self.agenda, self.truth, self, settings, chances.of("master"), reader
        )
        self.master = self._start(StateDir(cluster=0))
        self.former: Master | None = None
        """A master whose place another took while it lived."""
        self._faithful: dict[str, None] = {}
        """Workers that still listen to it."""
        self.workers = self._draw_workers(chances)
        self.jobs: dict[str, JobSpec] = {}
        """Those that somebody waits for, by name."""
        for number in range(self._chance.randint(1, MOST_JOBS)):
            spec = draw_job(chances.of(f"job {number}"), f"j{number}")
            if recipe.jobs is None or number in recipe.jobs:
                self.jobs[spec.job] = self.truth.specs[spec.job] = spec
        if not self.jobs or not self.workers:
            msg = f"no {'jobs' if self.workers else 'workers'} are left of seed {recipe.seed}"
            raise UsageError(msg, hint="Keep some that it has.")
        self._misfortune = FaultInjector(self, chances.of("misfortune"))

    @property
    def job_numbers(self) -> tuple[int, ...]:
        """Which of the jobs that the seed draws it has, before it begins."""
        return tuple(int(name.removeprefix("j")) for name in self.jobs)

    @property
    def worker_numbers(self) -> tuple[int, ...]:
        """Which of the workers that the seed draws it has."""
        return tuple(int(name.removeprefix("w")) for name in self.workers)

    def _draw_workers(self, chances: Chances) -> dict[str, FakeWorker]:
        found: dict[str, FakeWorker] = {}
        for number in range(self._chance.randint(1, MOST_WORKERS)):
            slots, name = self._chance.choice((1, 1, 2, 3)), f"w{number}"
            if self.recipe.workers is None or number in self.recipe.workers:
                found[name] = FakeWorker(
                    name,
                    slots,
                    self.agenda,
                    self.network,
                    self,
                    self.truth,
                    chances.of(f"worker {number}"),
                )
        for worker in found.values():
            worker.peers = found
        return found

    # The story of a history.

    def run(self) -> SimHistory:
        """Live it to its end.

        Raises
        ------
        SimulationError
            Something was done that must not be, or a job did not end.
        """
        try:
            self._begin()
            while not self._over():
                for _ in range(8):  # An end is looked for now and then only.
                    self._tick()
            self._close()
        # Whatever goes wrong in there is a finding.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            story = f"faults: {self.faults.drawn}\n{self.story(last=_TAIL)}"
            raise SimulationError(self.recipe, reason, story) from error
        return SimHistory(
            self.recipe,
            len(self.rows),
            tuple((job, finish.status) for job, finish in self.truth.ended.items()),
            tuple(sorted(self.faults.struck.items())),
            self.digest,
        )

    @property
    def digest(self) -> str:
        """Hash of the journals of all masters."""
        return hashlib.sha256(self.story().encode()).hexdigest()

    def story(self, *, last: int | None = None) -> str:
        """Return what happened as text, or the last lines of it."""
        rows = self.rows if last is None else self.rows[-last:]
        lines: list[str] = []
        for at_s, life, row in rows:
            lines.append(f"{at_s:.3f} master {life}: {row.fact}")
            lines.extend(f"    {command}" for command in row.commands)
        return "\n".join(lines if last is None else lines[-last:])

    def _begin(self) -> None:
        chance = self._chance
        self.master.begin()
        for worker in self.workers.values():
            self.agenda.after(chance.random() * 5, worker.start)
        for name in self.jobs:
            self.agenda.after(chance.random() * 10, partial(self.submit, name))
            if chance.random() < 0.1:
                at_s = chance.random() * self.recipe.until_s
                self.agenda.after(at_s, partial(self._cancel, name))
        self._misfortune.begin()
        self.agenda.after(self.recipe.until_s, self.heal)

    @property
    def unfinished(self) -> list[str]:
        """Jobs that somebody still waits for."""
        return [name for name in self.jobs if name not in self.truth.ended]

    def _over(self) -> bool:
        if self.agenda.now > self.recipe.until_s + _PATIENCE_S or len(self.rows) > _MOST_STEPS:
            msg = f"jobs did not end: {self.unfinished}"
            raise AssertionError(msg)
        if not self.unfinished and not self.healed:
            self.heal()
        return self.healed and not self.unfinished and self.master.alive

    def _tick(self) -> None:
        first, wake_s = self.master, self.master.wake_s
        former = self.former
        if former is not None and former.wake_s < wake_s:
            first, wake_s = former, former.wake_s
        if wake_s <= self.agenda.next_s:
            # A grain later: a master's time is the world's less what it missed, and rounded.
            self.agenda.now = max(self.agenda.now, wake_s + _GRAIN_S)
            first.fire()
            assert first.wake_s > self.agenda.now, "the timer fires for nothing, for ever"
        else:
            self.agenda.step()

    def _close(self) -> None:
        """Release every job: then nothing may be left of any."""
        master, workers = self.master, list(self.workers.values())
        for name in self.jobs:
            for _ in range(2):
                master.feed(JobReleased(name))
            assert master.scheduler.is_empty_of(name), f"something is left of {name}"
            kept = json.dumps(snapshot.dump(master.scheduler.state))
            assert f'"{name}"' not in kept, f"something is left of {name}: {kept}"
        assert not any(master.scheduler.active_attempts(name) for name in self.workers)
        # Whoever was away when a job ended is told when it names the job; what is still under
        # way may arrive until then.
        begin_s = self.agenda.now
        while self.agenda.now < begin_s + _SETTLE_S:
            busy = any(worker.blocks or worker.machine.attempts for worker in workers)
            if self.agenda.now > begin_s + LATE_S and not busy:
                break
            self._tick()
        for worker in workers:
            held = list(worker.blocks)
            assert not held, f"{worker.name} keeps blocks for ever: {held}"
            idle = not worker.alive or not worker.machine.attempts
            assert idle, f"{worker.name} works for nobody"
        master.kill()

    # Masters.

    def _start(self, home: StateDir) -> Master:
        master = Master(self._around, home, lambda row: self._log(master, row))
        return master

    def _log(self, master: Master, row: SimRow) -> None:
        self.rows.append((self.agenda.now, master.home.life, row))
        if self.witness is not None:
            self.witness(master, row)

    def restart(self, *, down_s: float, loses: float = 0.0) -> None:
        """Kill the master and start it again on what it had written down.

        Of what it had written last, it ``loses`` a share.
        """
        old = self.master
        if old.alive:
            old.kill()
            if loses:
                old.home.cut_power(loses)
            self.agenda.after(down_s, lambda: self._succeed(old.home))

    def take_over(self, *, for_s: float) -> None:
        """Start a second master on a copy of the state directory; the first lives for a while.

        It has the address from now on, but for workers that are still bound to the first.
        """
        old = self.master
        if not old.alive or (self.former is not None and self.former.alive):
            return
        # Nobody can keep two masters from writing where both may: that is what the lock is for.
        old.deposed = True
        self.former = old
        self._faithful = {n: None for n in self.workers if self._chance.random() < 0.5}
        self._succeed(old.home.copy())
        self.agenda.after(for_s, old.kill)

    def wipe(self) -> None:
        """Start a master on an empty state directory; clients submit what had not ended again."""
        old = self.master
        if not old.alive:
            return
        old.kill()
        cluster = old.home.cluster + 1
        for name in self.unfinished:
            spec = replace(self.jobs.pop(name), job=f"{name.partition('-')[0]}-{cluster}")
            self.jobs[spec.job] = self.truth.specs[spec.job] = spec
            self.agenda.after(1.0, partial(self.submit, spec.job))
        self._succeed(StateDir(cluster))

    def _succeed(self, home: StateDir) -> None:
        self.master = self._start(home)
        self.master.begin()

    # The address of the master, as workers and clients see it.

    def _listens_to(self, worker: str) -> Master:
        former = self.former
        bound = former is not None and former.alive and worker in self._faithful
        return former if bound and former is not None else self.master

    def register(self, worker: str, slots: int, answer: Callable[[SimMembership], None]) -> None:
        """Take a registration (`Masters`)."""
        self._listens_to(worker).register(worker, slots, answer)

    def hear(
        self, worker: str, cluster: int, events: tuple[Event, ...], answer: Act | None = None
    ) -> None:
        """Take a message (`Masters`)."""
        master = self._listens_to(worker)
        if cluster == master.home.cluster:
            master.hear(events, answer)
        elif master.alive:
            self._bring(worker, lambda found: found.disown(cluster))

    def deletes(self, worker: str, key: TaskKey) -> None:
        """Look whether somebody still counts on a block that was deleted by order."""
        if self.faults.struck["twin"] or self.faults.struck["power"]:
            # The other one did, or one that knew more: it is lost, and made again if need be.
            return
        state = self._listens_to(worker).scheduler.state
        job, known = state.jobs.get(key.job), state.workers.get(worker)
        counts = job is not None and known is not None and job.counts_on(key)
        if counts and self.truth.was_kept(key):
            return  # In the real world a cache has it under a name of its own.
        epoch = self.workers[worker].machine.epoch
        current = known is not None and known.up and known.epoch == epoch and known.holds(key)
        assert not (counts and current), f"{worker} was told to delete what is needed: {key}"

    def tell(self, master: Master, worker: str, command: Command) -> None:
        """Bring a command to a worker (`Messenger`)."""
        if worker in self.workers and self._listens_to(worker) is master:
            self._orders += 1
            cluster, number = master.home.cluster, self._orders
            self._bring(worker, lambda found: found.obey(cluster, number, command))

    def _bring(self, worker: str, say: Callable[[FakeWorker], None]) -> None:
        found = self.workers[worker]
        life = found.life
        self.network.carry(worker, "down", lambda: found.receive(life, lambda: say(found)))

    # Clients.

    def submit(self, name: str) -> None:
        """Submit a job, again and again until it is answered."""
        answered: list[None] = []
        spec = self.jobs.get(name)
        if spec is None:
            return  # Its cluster was wiped meanwhile.
        if self._chance.random() < 0.3:
            spec = replace(spec, found=self._found(spec))
        event = JobSubmitted(spec)

        def attempt() -> None:
            if not answered and name in self.jobs:
                self.master.submit(event, lambda: answered.append(None))
                self.agenda.after(2.0, attempt)

        attempt()

    def _found(self, spec: JobSpec) -> tuple[CachedOutput, ...]:
        """Let workers have kept some blocks from earlier jobs; some may be gone already."""
        found: list[CachedOutput] = []
        up = [worker for worker in self.workers.values() if worker.machine.epoch is not None]
        for stage in steady(spec) if up else ():
            share = self._chance.choice((0.0, 0.5, 1.0))
            for partition in range(stage.partitions):
                if self._chance.random() >= share:
                    continue
                worker = self._chance.choice(up)
                block = kept_block(spec, TaskKey(spec.job, stage.id, 0, partition, 0))
                self.truth.kept(block, worker.name)
                if not self.faults.strikes("vanish"):
                    worker.blocks[block.key] = block
                receipt = Receipt((1,), (block.version,))
                found.append(CachedOutput(stage.id, partition, worker.name, receipt))
        return tuple(found)

    def _cancel(self, name: str) -> None:
        if name in self.jobs:
            self.truth.cancelled[name] = None
            self.master.hear((JobCancelRequested(name),), None)

    def heal(self) -> None:
        """Let everything work from now on."""
        if self.healed:
            return
        self.healed = True
        self.faults.heal()
        self.network.heal()
        for master in (self.master, self.former):
            if master is not None:
                master.journal.heal()
        if self.former is not None:
            self.former.kill()
        for worker in self.workers.values():
            worker.heal()


def run(seed: int) -> SimHistory:
    """Run the history of a seed to its end."""
    return World(SimOptions(seed)).run()
