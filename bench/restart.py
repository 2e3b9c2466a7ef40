"""Time of a master's restart after it was killed.

    python bench/restart.py [--tasks 100000] [--done 0.95]

A job of many tasks runs on a real service (no HTTP, no work in the tasks). When most tasks are
done, the master ends as if killed, and the next one is restored from its journal.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Annotated

import structlog
import typer

from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.journal.journal import Journal
from minispark.master import MasterConfig, Service
from minispark.master.recovery.restore import identify, restore
from minispark.plan.stages import Branch, Label, Output, OutputKind, ResultSpec, Stage, StageGraph
from minispark.task.spec import TaskReport
from minispark.tokens import Level
from minispark.wire.guard import Caller
from minispark.wire.http import versions
from minispark.wire.messages import PollReply, RegisterRequest

WORKERS = 16
SLOTS = 32
STAGES = 2


def graph_of(tasks: int) -> StageGraph:
    """Return stages of tasks that read nothing and return rows."""
    stages = tuple(
        Stage(
            number,
            f"map-{number}",
            (Branch(b"fragment", tasks // STAGES),),
            Output(OutputKind.SINGLE),
            Label.UNORDERED,
            nodes=(f"n{number}",),
        )
        for number in range(STAGES)
    )
    results = tuple(ResultSpec(f"n{stage.id}", stage.id, ("a",)) for stage in stages)
    return StageGraph(stages, results, flow={f"n{stage.id}": () for stage in stages})


def service_on(state: Path) -> Service:
    """Return a master on a state directory, not started."""
    config = MasterConfig(state_dir=state, token="bench")  # noqa: S106
    journal = Journal(state / "journal.db")
    return Service(config, journal, identify(journal, new_cluster_id="bench", disk="here"))


async def run(state: Path, *, tasks: int, done: int) -> Service:
    """Run a part of a job; the service stays as a killed one would."""
    service = service_on(state)
    await service.start()
    desk, parts = service.workers, service.components
    entries = [
        desk.register(
            RegisterRequest(
                worker_id=f"w{number}",
                url=f"http://w{number}:1",
                host="here",
                directory=f"/w{number}",
                slots=SLOTS,
                versions=versions(),
            )
        )
        for number in range(WORKERS)
    ]
    await service.submissions.submit_graph(
        "bench",
        graph_of(tasks),
        weight=1.0,
        idempotency_key="k",
        caller=Caller(Level.ROOT, "here"),
    )
    block = BlockMeta((PartitionMeta(0, 1_000, 10, 1, 1),))
    reported = 0
    while reported < done:
        for entry in entries:
            for spec in entry.outbox.flush_into(PollReply()).tasks:
                nodes = {f"n{spec.key.stage}": 10}
                desk.report(entry, TaskReport(spec.key, block, nodes=nodes, rows_in=10))
                reported += 1
        await parts.loop.durable()
    return service


async def measure(state: Path, *, tasks: int, done: int) -> None:
    """Print the time of a restart."""
    began = time.perf_counter()
    first = await run(state, tasks=tasks, done=done)
    took = time.perf_counter() - began
    await first._planner_pool.close()
    first.components.loop.stop()
    first.components.journal.close()  # Without the snapshot of a clean stop.
    size = (state / "journal.db").stat().st_size / 1e6
    typer.echo(f"ran {done} of {tasks} tasks in {took:.1f} s ({done / took:.0f}/s), {size:.0f} MB")
    began = time.perf_counter()
    again = service_on(state)
    opened = time.perf_counter()
    restore(again.components)
    restored = time.perf_counter()
    (live,) = again.components.jobs.live.values()
    typer.echo(
        f"restored in {restored - began:.2f} s (open {opened - began:.2f}): "
        f"{len(live.blocks)} accepted tasks, {len(live.record.attempts)} attempts"
    )
    again.components.journal.close()


def main(
    *,
    tasks: Annotated[int, typer.Option(help="Tasks of the job.")] = 100_000,
    done: Annotated[float, typer.Option(help="Part of them that is done.")] = 0.95,
) -> None:
    """Run the benchmark."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    with tempfile.TemporaryDirectory(prefix="minispark-bench-") as directory:
        asyncio.run(measure(Path(directory), tasks=tasks, done=int(tasks * done)))


if __name__ == "__main__":
    typer.run(main)
