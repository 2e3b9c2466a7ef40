"""How a worker leaves without a loss.

1. It gets no new attempts; its waiting attempts go back to the queue.
2. What runs on it may end within ``drain_timeout_s``; after that it is called back too.
3. Other workers fetch its blocks that are still needed: those that a running job will read, and the
   kept results of ended jobs. A worker fetches at most ``max_moves`` at a time; one that fetches
   none for ``move_timeout_s`` is asked last from then on.
4. When nothing is left, and the attempts that read from it have ended, it is dismissed; at the
   latest when its time is over. Blocks that were not moved are made again if they are needed.
5. If no other worker takes work, it waits at most ``drain_alone_s`` for one: a cluster that is
   stopped as a whole should stop quickly.

Does not cover: the loss of a worker (`core`), which ends its drain too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import inf

from minispark.ids import TaskKey
from minispark.scheduler import lineage
from minispark.scheduler.commands import BlockRef, DismissWorker, MoveBlocks, ReleaseBlocks
from minispark.scheduler.reasons import RESENT, Reason, Why
from minispark.scheduler.state import State
from minispark.scheduler.step import Step
from minispark.scheduler.workers import Leaving, Worker
from minispark.settings import SchedulerSettings


def begin(step: Step, worker: Worker) -> None:
    """Take a worker out of the rotation; dismiss it again if it was dismissed already."""
    if worker.leaving is not None:
        if worker.leaving.dismissed_s is not None:
            _dismiss(step, worker, worker.leaving, RESENT)
        return
    worker.leaving = Leaving(step.now)
    step.state.leaving[worker.name] = worker
    step.state.remove_worker(worker)
    _reassign_moves(step.state, worker)
    step.revoke_all(worker.waiting, Reason(Why.WORKER_DRAINING, worker.name))
    step.due(step.now + step.settings.drain_timeout_s)


def moved(step: Step, taker: Worker, keys: Collection[TaskKey]) -> None:
    """Note that a worker has fetched blocks. The first worker to have a block keeps it."""
    surplus: list[TaskKey] = []
    for key in keys:
        drain = next((drain for drain in step.state.drains if drain[0].holds(key)), None)
        if drain is not None and drain[0] is not taker:
            drain[1].moving.pop(key, None)
        if taker.holds(key):
            continue
        if drain is None or taker.leaving or not _counts(step.state, key):
            surplus.append(key)
            continue
        giver, leave = drain
        step.state.give(key, giver, taker, step.now)
        if not step.state.jobs[key.job].ended:
            leave.given[key.job] = step.now
    if surplus:
        step.emit(ReleaseBlocks(taker.name, taker.epoch, tuple(surplus)))
    for _, leave in step.state.drains:
        leave.unsettled = True
        for key, (name, _) in leave.moving.items():
            if name == taker.name:
                leave.moving[key] = (name, step.now)  # It makes progress.


def check_time(step: Step) -> None:
    """Give up moves that take too long, and end drains whose time is over."""
    settings, now = step.settings, step.now
    for worker, leave in step.state.drains:
        for key, (taker, since_s) in list(leave.moving.items()):
            if now >= since_s + settings.move_timeout_s:
                del leave.moving[key]
                leave.slow[taker] = None
                leave.unsettled = True
        leave.left = leave.left and not _gives_up(step, leave)
        if not leave.over and now >= leave.since_s + settings.drain_timeout_s:
            leave.over = True
            limit_s = settings.drain_timeout_s
            reason = Reason(Why.DRAIN_TIMEOUT, worker.name, limit=limit_s)
            step.revoke_all(worker.leased, reason)
        if leave.dismissed_s is not None and now >= leave.dismissed_s + settings.move_timeout_s:
            _dismiss(step, worker, leave, RESENT)


def advance(step: Step) -> None:
    """Start pending block moves; dismiss drained workers that nothing depends on."""
    for worker, leave in step.state.drains:
        if leave.dismissed_s is not None:
            continue
        if leave.unsettled:
            _have_moved(step, worker, leave)
        busy = leave.left or leave.moving or worker.leased
        if leave.over:
            limit_s = step.settings.drain_timeout_s
            _dismiss(step, worker, leave, Reason(Why.DRAIN_TIMEOUT, limit=limit_s))
        elif not (busy or _is_read(step.state, leave)):
            _dismiss(step, worker, leave, Reason(Why.DRAINED))


def retry_moves(state: State) -> None:
    """Retry unassigned moves: a worker joined or has room again."""
    for _, leave in state.drains:
        leave.unsettled = True


def resend(step: Step) -> None:
    """Repeat moves and dismissals that an earlier master may not have sent."""
    for worker, leave in step.state.drains:
        leave.moving.clear()
        leave.unsettled = True
        if leave.dismissed_s is not None:
            _dismiss(step, worker, leave, RESENT)


def end(state: State, worker: Worker) -> None:
    """End the drain of a lost worker, and the moves to it."""
    worker.leaving = None
    state.leaving.pop(worker.name, None)
    _reassign_moves(state, worker)


def deadline(state: State, settings: SchedulerSettings) -> float:
    """Return the next deadline of a draining worker, infinity for none."""
    return min((_due_s(state, leave, settings) for _, leave in state.drains), default=inf)


def _due_s(state: State, leave: Leaving, settings: SchedulerSettings) -> float:
    if leave.dismissed_s is not None:
        return leave.dismissed_s + settings.move_timeout_s
    moves = (since_s + settings.move_timeout_s for _, since_s in leave.moving.values())
    alone = leave.left and not state.rotation
    patience_s = settings.drain_alone_s if alone else settings.drain_timeout_s
    return min(leave.since_s + min(patience_s, settings.drain_timeout_s), *moves, inf)


def _reassign_moves(state: State, taker: Worker) -> None:
    """Cancel the moves to a worker that takes no more blocks, and retry."""
    for _, leave in state.drains:
        for key in [key for key, (name, _) in leave.moving.items() if name == taker.name]:
            del leave.moving[key]
        leave.unsettled = True


def _gives_up(step: Step, leave: Leaving) -> bool:
    """Whether a worker has waited long enough for one that could take its blocks."""
    return not step.state.rotation and step.now >= leave.since_s + step.settings.drain_alone_s


def _dismiss(step: Step, worker: Worker, leave: Leaving, reason: Reason) -> None:
    leave.dismissed_s = step.now
    leave.moving.clear()
    step.emit(DismissWorker(worker.name, worker.epoch, reason))
    step.due(_due_s(step.state, leave, step.settings))


def _have_moved(step: Step, worker: Worker, leave: Leaving) -> None:
    """Assign needed blocks that are not being moved to the other workers, evenly."""
    leave.unsettled = leave.left = False
    takers = [w for w in step.state.rotation.values() if w.full is None and not w.suspect]
    takers = [w for w in takers if w.name not in leave.slow] or takers
    load = {w.name: 0 for w in takers}
    for name, _ in (move for _, other in step.state.drains for move in other.moving.values()):
        if name in load:
            load[name] += 1
    orders: dict[str, list[BlockRef]] = {}
    for key in _needed(step.state, worker):
        if key in leave.moving:
            continue
        name = min(load, key=load.__getitem__) if load else ""
        if not load or load[name] >= step.settings.max_moves:
            leave.left = not _gives_up(step, leave)
            break
        load[name] += 1
        leave.moving[key] = (name, step.now)
        orders.setdefault(name, []).append(BlockRef(key, worker.name, 0))
    for name, blocks in orders.items():
        taker = step.state.workers[name]
        step.emit(MoveBlocks(name, taker.epoch, tuple(blocks)))
    step.due(_due_s(step.state, leave, step.settings))


def _needed(state: State, worker: Worker) -> Iterator[TaskKey]:
    for name, keys in worker.blocks.items():
        job = state.jobs[name]
        if job.ended:
            yield from keys
            continue
        stages = {stage.id for stage in job.ordered if lineage.read_on(job, stage)}
        yield from (key for key in keys if key.stage in stages and job.counts_on(key))


def _counts(state: State, key: TaskKey) -> bool:
    job = state.jobs[key.job]
    return job.ended or job.counts_on(key)


def _is_read(state: State, leave: Leaving) -> bool:
    """Whether an attempt runs that reads blocks from where they were before."""
    return bool(leave.given) and any(
        since_s < leave.given.get(key.job, -inf)
        for worker in state.workers.values()
        for key, since_s in worker.leased.items()
    )
