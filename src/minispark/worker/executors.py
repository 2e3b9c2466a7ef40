"""The executor processes of a worker, one per slot.

Covers: which slot runs which attempt, cancelling, time-outs, the memory limit. Does not cover:
one process (`executor_process`), which worker runs a task (`minispark.scheduler`).

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
from minispark.task.spec import TaskFailure, TaskProgress, TaskReport, TaskSpec
from minispark.worker.cleanup import discard_attempt
from minispark.worker.executor_process import ExecutorEnded, ExecutorProcess, OutputListener
from minispark.worker.spill import Spilling

_MEMORY_POLL_S = 0.1
"""A task can allocate some GB in this time; a reading costs 30 us a process."""
_IDLE_SLACK_BYTES = 64 << 20
"""An idle executor that grew less than this since it started is not worth replacing."""

_log = logger("worker")


class Executors(Protocol):
    """The processes that run tasks, as the agent and the embedded engine use them."""

    async def run(self, spec: TaskSpec) -> TaskReport | TaskFailure:
        """Run an attempt to its end."""

    async def cancel(self, key: TaskKey) -> None:
        """End an attempt early; its ``run`` returns a failure."""

    def progress(self) -> tuple[TaskProgress, ...]:
        """Return what the running attempts have read so far."""

    async def close(self) -> None:
        """End all processes."""


@dataclass(eq=False, slots=True)
class _Slot:
    process: asyncio.Task[ExecutorProcess]
    """Starts the executor, and has it as its result."""
    busy: bool = False

    @property
    def executor(self) -> ExecutorProcess | None:
        """The executor, None while it starts and after its end."""
        if not self.process.done() or self.process.cancelled() or self.process.exception():
            return None
        executor = self.process.result()
        return executor if executor.alive else None


@dataclass(eq=False, slots=True)
class _Run:
    """An attempt that waits for a slot (``turn``) or runs on one (``executor``)."""

    spec: TaskSpec
    turn: asyncio.Future[_Slot | None] | None = None
    executor: ExecutorProcess | None = None
    began_s: float | None = None
    """When an executor got it, monotonic; None while it waits."""
    cancelled: bool = False


class ExecutorPool:
    """Runs tasks in ``slots`` processes with ``threads_per_slot`` Polars threads each.

    All methods are for one event loop. ``memory_limit_bytes`` is for all executors together and
    counts anonymous memory. In any case an executor is killed before the machine or the control
    group has no memory left (``read_memory``). ``on_output`` is called with the process id, the
    attempt that runs there, and each line that it prints (by default lines are logged).
    ``spilling`` says when and where Polars moves data to disk.
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
        spilling: Spilling | None = None,
    ) -> None:
        self._count = slots
        self._spilling = spilling
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
            An executor does not start.
        """
        self._slots = tuple(_Slot(self._spawn()) for _ in range(self._count))
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
    def memory_bytes(self) -> int:
        """Anonymous memory of all executors."""
        return sum(executor.memory_bytes() for executor in self._living())

    async def run(self, spec: TaskSpec) -> TaskReport | TaskFailure:
        """Wait for a free slot, run the task there and return how it ended.

        Raises
        ------
        ValueError
            The same attempt waits or runs here already.
        """
        if spec.key in self._runs:
            msg = f"attempt {spec.key.block_id} is here already"
            raise ValueError(msg)
        run = self._runs[spec.key] = _Run(spec)
        try:
            outcome = await self._run_in_turn(run)
            if _is_panic(outcome):
                # The in-memory engine of Polars may succeed where its streaming engine panics.
                run.spec = replace(spec, in_memory=True)
                outcome = await self._run_in_turn(run)
        finally:
            del self._runs[spec.key]
        if isinstance(outcome, TaskReport | TaskFailure):
            return outcome
        ran_s = 0.0 if run.began_s is None else monotonic_s() - run.began_s
        return TaskFailure(spec.key, outcome, input_generations(spec), ran_s)

    async def cancel(self, key: TaskKey) -> None:
        """End an attempt that waits or runs; its `run` returns `Cancelled`."""
        run = self._runs.get(key)
        if run is None:
            return
        run.cancelled = True
        if run.executor is not None:
            run.executor.kill(errors.Cancelled())
        elif run.turn is not None and not run.turn.done():
            run.turn.set_result(None)

    def progress(self) -> tuple[TaskProgress, ...]:
        """Return what the running attempts have read so far."""
        now, found = monotonic_s(), []
        for key, run in self._runs.items():
            if run.executor is not None and run.began_s is not None:
                progress = run.executor.progress or TaskProgress(key)
                found.append(replace(progress, ran_s=now - run.began_s))
        return tuple(found)

    async def close(self) -> None:
        """End all executors; attempts that wait or run return `Cancelled`."""
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
        """Wait for a slot; None if the attempt was cancelled before it got one."""
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
                unused = run.turn.result()
                if unused is not None:
                    self._give(unused)
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(run)

    def _give(self, slot: _Slot) -> None:
        """Give a slot to the next attempt, with a new executor if its own has ended."""
        if slot.process.done() and slot.executor is None and not self._closed:
            self._replace(slot)
        while self._waiting:
            turn = self._waiting.popleft().turn
            if turn is not None and not turn.done():
                turn.set_result(slot)
                return
        slot.busy = False
        self._idle.append(slot)

    async def _run_in_turn(self, run: _Run) -> TaskReport | TaskFailure | errors.Failure:
        slot = await self._take(run)
        if slot is None:
            return errors.Cancelled()
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
        run.executor, run.began_s = executor, monotonic_s()
        try:
            outcome = await executor.run(run.spec)
        except ExecutorEnded:
            reason = await executor.exit_reason()
            discard_attempt(run.spec)
            return executor.verdict or errors.WorkerLost(reason)
        except BaseException:
            # The caller gave up: what the process still does is of no use.
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
                threads=self._threads,
                fetch=self._fetch,
                on_output=self._on_output,
                spilling=self._spilling,
            )
        )

    def _replace(self, slot: _Slot) -> None:
        if not slot.process.cancelled() and slot.process.exception() is None:
            self._in_background(slot.process.result().end())
        slot.process = self._spawn()

    def _living(self) -> list[ExecutorProcess]:
        return [slot.executor for slot in self._slots if slot.executor is not None]

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _watch_memory(self) -> None:
        """Kill the executor that grew most when all together are over the limit.

        The same when the machine, or the control group, has almost no memory left. A busy executor
        loses its task. An idle one that keeps the memory of its last task is replaced, and that a
        bit earlier: at the mark where the worker gets no new work.
        """
        while True:
            await asyncio.sleep(_MEMORY_POLL_S)
            living = [(slot, slot.executor) for slot in self._slots]
            usages = [_Usage(s, e, e.memory_bytes()) for s, e in living if e is not None]
            excess = self._memory_excess(sum(usage.size for usage in usages))
            if excess is None or not usages:
                continue
            by_growth = sorted(usages, key=lambda usage: usage.growth, reverse=True)
            worst = by_growth[0]
            if excess.bound is not None and worst.slot.busy:
                # A small executor is not what fills the machine.
                if excess.bound == "given" or worst.growth > _IDLE_SLACK_BYTES:
                    runs = (r for r in self._runs.values() if r.executor is worst.executor)
                    inputs = next((largest_inputs(run.spec) for run in runs), ())
                    worst.executor.kill(
                        errors.OutOfMemory(excess.limit_bytes, worst.size, excess.bound, inputs)
                    )
                continue
            for usage in by_growth:
                if not usage.slot.busy and usage.growth > _IDLE_SLACK_BYTES:
                    usage.executor.kill(None)
                    self._replace(usage.slot)
                    break

    def _memory_excess(self, held_bytes: int) -> _Excess | None:
        """Return the mark that is passed; without a ``bound`` it is where no new work comes."""
        settings, limit = CapacitySettings(), self._memory_limit_bytes
        if limit is not None and held_bytes > limit:
            return _Excess(limit, "given")
        memory = self._read_memory()
        if memory is not None:
            reserve = min(memory.total_bytes * settings.reserve, settings.reserve_bytes)
            last = int(reserve * settings.last_reserve)
            if memory.free_bytes < last:
                return _Excess(last, "machine")
        if limit is not None and held_bytes >= limit * settings.high_water:
            return _Excess(limit, None)
        return None


@dataclass(frozen=True, slots=True)
class _Usage:
    """The anonymous memory of an executor."""

    slot: _Slot
    executor: ExecutorProcess
    size: int

    @property
    def growth(self) -> int:
        return self.size - self.executor.baseline_bytes


@dataclass(frozen=True, slots=True)
class _Excess:
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
