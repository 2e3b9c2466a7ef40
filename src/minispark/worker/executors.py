"""The executor processes of a worker, one per slot.

Covers: which slot takes which attempt, cancelling, time-outs, the memory limit. Does not cover:
the life of one process (`executor_process`), which worker runs a task (`minispark.scheduler`).

A slot that loses its process gets a new one at once, in the background::

    starting --ready--> idle --run--> busy --report--> idle
        ^                              |
        +---- died, killed: time-out, cancel, memory
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from minispark import errors
from minispark.blocks.fetch import FetchSettings
from minispark.blocks.memory import Memory, read_memory
from minispark.clock import monotonic_s
from minispark.ids import TaskKey
from minispark.logs import logger, task_fields
from minispark.settings import CapacitySettings
from minispark.task.failures import PANIC_CODE
from minispark.task.inputs import input_generations, largest_inputs
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.worker.cleanup import discard_attempt
from minispark.worker.executor_process import ExecutorEnded, ExecutorProcess, OutputListener

_MEMORY_POLL_S = 0.1
"""A task can take some GB in this time; reading the figure costs 30 us a process."""
_IDLE_SLACK_BYTES = 64 << 20
"""An idle executor that grew less than this since it started is not worth replacing."""

_log = logger("worker")


class Executors(Protocol):
    """What an agent, or an embedded engine, needs of the processes that run tasks."""

    async def run(self, spec: TaskSpec) -> TaskReport | TaskFailure:
        """Run an attempt to its end."""

    async def cancel(self, key: TaskKey) -> None:
        """End an attempt early; its ``run`` returns a failure."""

    async def close(self) -> None:
        """End all processes."""


class _Slot:
    """A place for one executor. ``process`` is the task that starts it, done when it is warm."""

    def __init__(self, start: Callable[[], asyncio.Task[ExecutorProcess]]) -> None:
        self._start = start
        self.process = start()
        self.busy = False

    @property
    def executor(self) -> ExecutorProcess | None:
        """The executor, if it has started and lives."""
        if not self.process.done() or self.process.cancelled() or self.process.exception():
            return None
        executor = self.process.result()
        return executor if executor.alive else None

    def restart(self) -> None:
        """Replace the executor by a new one, which starts in the background."""
        self.process = self._start()


class _Run:
    """An attempt that waits for a slot (``turn``) or runs on one (``executor``)."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        self.turn: asyncio.Future[_Slot | None] | None = None
        self.executor: ExecutorProcess | None = None
        self.cancelled = False


class ExecutorPool:
    """Runs tasks in ``slots`` processes with ``threads_per_slot`` Polars threads each.

    All methods are for one event loop. ``memory_limit_bytes`` is for all executors together and
    counts anonymous memory; with it or without, an executor is killed before the machine or the
    control group has none left (``read_memory``). ``on_output`` is called with the process id, the
    attempt that runs there, and each line that it prints (default: it is logged).
    """

    def __init__(
        self,
        slots: int,
        *,
        threads_per_slot: int = 1,
        fetch: FetchSettings | None = None,
        task_timeout_s: float | None = None,
        memory_limit_bytes: int | None = None,
        read_memory: Callable[[], Memory | None] = read_memory,
        on_output: OutputListener | None = None,
    ) -> None:
        self._count = slots
        self._threads = threads_per_slot
        self._fetch = fetch or FetchSettings()
        self._timeout_s = task_timeout_s
        self._memory_limit_bytes = memory_limit_bytes
        self._read_memory = read_memory
        self._on_output = on_output or _log_output
        self._slots: tuple[_Slot, ...] = ()
        self._idle: deque[_Slot] = deque()
        self._waiting: deque[_Run] = deque()
        self._runs: dict[TaskKey, _Run] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start and warm all executors.

        Raises
        ------
        MinisparkError
            One of them does not come up.
        """
        self._slots = tuple(_Slot(self._spawn) for _ in range(self._count))
        self._idle.extend(self._slots)
        self._in_background(self._watch_memory())
        try:
            await asyncio.gather(*(slot.process for slot in self._slots))
        except (OSError, ExecutorEnded) as error:
            await self.close()
            msg = f"an executor could not start: {error}"
            raise errors.MinisparkError(msg, code="MS-216") from error
        except BaseException:
            await self.close()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the executors that are ready or run."""
        return tuple(executor.pid for executor in self._living())

    @property
    def memory_bytes(self) -> int:
        """Anonymous memory of all executors."""
        return sum(executor.memory_bytes() for executor in self._living())

    async def run(self, spec: TaskSpec) -> TaskReport | TaskFailure:
        """Wait for a free slot, run the task there and return how it ended.

        Raises
        ------
        ValueError
            The same attempt is waiting or running here already.
        """
        if spec.key in self._runs:
            msg = f"attempt {spec.key.block_id} is here already"
            raise ValueError(msg)
        started_s = monotonic_s()
        run = self._runs[spec.key] = _Run(spec)
        try:
            slot = await self._take(run)
            outcome = errors.Cancelled() if slot is None else await self._run_on(slot, run)
            if _is_panic(outcome):
                # Polars' other engine may do what its streaming engine cannot.
                run.spec = replace(spec, in_memory=True)
                slot = await self._take(run)
                outcome = errors.Cancelled() if slot is None else await self._run_on(slot, run)
        finally:
            del self._runs[spec.key]
        if isinstance(outcome, TaskReport | TaskFailure):
            return outcome
        return TaskFailure(spec.key, outcome, input_generations(spec), monotonic_s() - started_s)

    async def cancel(self, key: TaskKey) -> None:
        """End an attempt, waiting or running; `run` then returns `Cancelled`."""
        run = self._runs.get(key)
        if run is None:
            return
        run.cancelled = True
        if run.executor is not None:
            run.executor.kill(errors.Cancelled())
        elif run.turn is not None and not run.turn.done():
            run.turn.set_result(None)

    async def close(self) -> None:
        """End all executors; attempts that wait or run come back `Cancelled`."""
        self._closed = True
        for key in tuple(self._runs):
            await self.cancel(key)
        for task in self._background:
            task.cancel()
        for slot in self._slots:
            slot.process.cancel()
        starting = [slot.process for slot in self._slots]
        await asyncio.gather(*starting, *self._background, return_exceptions=True)
        for process in starting:
            if not process.cancelled() and process.exception() is None:
                await process.result().end()

    async def _take(self, run: _Run) -> _Slot | None:
        """Wait for a slot; None if the attempt was cancelled before its turn."""
        if self._closed:
            return None
        if self._idle:
            slot = self._idle.popleft()
            slot.busy = True
            return slot
        run.turn = asyncio.get_running_loop().create_future()
        self._waiting.append(run)
        try:
            return await run.turn
        except asyncio.CancelledError:
            if run.turn.done() and not run.turn.cancelled():
                slot_given = run.turn.result()
                if slot_given is not None:
                    self._give(slot_given)
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(run)

    def _give(self, slot: _Slot) -> None:
        """Hand a slot to the next in line, with a new executor if its own is gone."""
        if slot.process.done() and slot.executor is None and not self._closed:
            self._replace(slot)
        while self._waiting:
            turn = self._waiting.popleft().turn
            if turn is not None and not turn.done():
                turn.set_result(slot)
                return
        slot.busy = False
        self._idle.append(slot)

    async def _run_on(self, slot: _Slot, run: _Run) -> TaskReport | TaskFailure | errors.Failure:
        try:
            try:
                executor = await asyncio.shield(slot.process)
            except (OSError, ExecutorEnded) as error:
                return errors.WorkerLost(f"an executor could not start: {error}")
            except asyncio.CancelledError:
                if self._closed and slot.process.cancelled():
                    return errors.Cancelled()
                raise
            return errors.Cancelled() if run.cancelled else await self._run_in(executor, run)
        finally:
            self._give(slot)

    async def _run_in(
        self, executor: ExecutorProcess, run: _Run
    ) -> TaskReport | TaskFailure | errors.Failure:
        timeout_s = self._timeout_s if run.spec.timeout_s is None else run.spec.timeout_s
        timer = None
        if timeout_s is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(timeout_s, executor.kill, errors.TimedOut(timeout_s))
        run.executor = executor
        try:
            outcome = await executor.run(run.spec)
        except ExecutorEnded:
            epitaph = await executor.epitaph()
            discard_attempt(run.spec)
            return executor.verdict or errors.WorkerLost(epitaph)
        except BaseException:
            # The caller gave up: whatever the process still does is of no use.
            executor.kill(errors.Cancelled())
            raise
        finally:
            run.executor = None
            if timer is not None:
                timer.cancel()
        if _is_panic(outcome):
            executor.kill(None)
        return outcome

    def _spawn(self) -> asyncio.Task[ExecutorProcess]:
        return asyncio.create_task(
            ExecutorProcess.start(
                threads=self._threads, fetch=self._fetch, on_output=self._on_output
            )
        )

    def _replace(self, slot: _Slot) -> None:
        if not slot.process.cancelled() and slot.process.exception() is None:
            self._in_background(slot.process.result().end())
        slot.restart()

    def _living(self) -> list[ExecutorProcess]:
        return [slot.executor for slot in self._slots if slot.executor is not None]

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _watch_memory(self) -> None:
        """Kill the executor that grew most when all together are over the limit.

        So too when the machine, or the control group, has next to nothing left. A busy one loses
        its task. An idle one that holds on to what its last task took is replaced, and that a bit
        earlier: at that mark no new work comes.
        """
        while True:
            await asyncio.sleep(_MEMORY_POLL_S)
            living = [(slot, slot.executor) for slot in self._slots]
            held = [_Held(s, e, e.memory_bytes()) for s, e in living if e is not None]
            over = self._memory_mark(sum(one.size for one in held))
            if over is None or not held:
                continue
            grown = sorted(held, key=lambda one: one.grown, reverse=True)
            worst = grown[0]
            if over.bound is not None and worst.slot.busy:
                # A little one is not what fills the machine.
                if over.bound == "given" or worst.grown > _IDLE_SLACK_BYTES:
                    run = next(
                        (r for r in self._runs.values() if r.executor is worst.executor), None
                    )
                    inputs = () if run is None else largest_inputs(run.spec)
                    verdict = errors.OutOfMemory(over.limit_bytes, worst.size, over.bound, inputs)
                    worst.executor.kill(verdict)
                continue
            for one in grown:
                if not one.slot.busy and one.grown > _IDLE_SLACK_BYTES:
                    one.executor.kill(None)
                    self._replace(one.slot)
                    break

    def _memory_mark(self, held_bytes: int) -> _Over | None:
        """Return which mark is passed; without a ``bound`` only that at which no new work comes."""
        settings, limit = CapacitySettings(), self._memory_limit_bytes
        if limit is not None and held_bytes > limit:
            return _Over(limit, "given")
        memory = self._read_memory()
        if memory is not None:
            reserve = min(memory.total_bytes * settings.reserve, settings.reserve_bytes)
            last = int(reserve * settings.last_reserve)
            if memory.free_bytes < last:
                return _Over(last, "machine")
        if limit is not None and held_bytes >= limit * settings.high_water:
            return _Over(limit, None)
        return None


@dataclass(frozen=True, slots=True)
class _Held:
    """An executor and its anonymous memory."""

    slot: _Slot
    executor: ExecutorProcess
    size: int

    @property
    def grown(self) -> int:
        return self.size - self.executor.baseline_bytes


@dataclass(frozen=True, slots=True)
class _Over:
    limit_bytes: int
    bound: Literal["given", "machine"] | None


def _is_panic(outcome: TaskReport | TaskFailure | errors.Failure) -> bool:
    return (
        isinstance(outcome, TaskFailure)
        and isinstance(outcome.failure, errors.TaskError)
        and outcome.failure.error.code == PANIC_CODE
    )


def _log_output(pid: int, key: TaskKey | None, line: str) -> None:
    _log.info("task_output", pid=pid, line=line, **({} if key is None else task_fields(key)))
