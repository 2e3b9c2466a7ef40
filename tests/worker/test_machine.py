import pytest

from minispark.blocks.meta import BlockMeta
from minispark.errors import Cancelled, WorkerLost
from minispark.ids import TaskKey
from minispark.plan.stages import Output, OutputKind
from minispark.task.spec import TaskFailure, TaskReport, TaskSpec
from minispark.worker import machine as m


def spec(number: int) -> TaskSpec:
    return TaskSpec(TaskKey("job-a-1-1", 0, 0, number, 0), b"", (), (), Output(OutputKind.SINGLE))


A, B, C = spec(0), spec(1), spec(2)


def done(task: TaskSpec) -> TaskReport:
    return TaskReport(task.key, BlockMeta(()))


def cancelled(task: TaskSpec) -> TaskFailure:
    return TaskFailure(task.key, Cancelled())


def machine(*events: m.Event, slots: int = 1) -> m.Machine:
    made = m.Machine(slots)
    made.step(m.Registered(1))
    for event in events:
        made.step(event)
    return made


START: dict[str, tuple[m.Event, ...]] = {
    "idle": (),
    "queued": (m.Dispatched((A, B)),),  # A runs, B waits
    "running": (m.Dispatched((B,)),),
    "stopping": (m.Dispatched((B,)), m.CancelAsked((B.key,))),
    "ended": (m.Dispatched((B,)), m.Ended(done(B))),
    "cancelled before": (m.CancelAsked((B.key,)),),
}


@pytest.mark.parametrize(
    ("start", "event", "commands", "attempts"),
    [
        ("idle", m.Dispatched((B,)), (m.Run(B),), (B,)),
        ("idle", m.Dispatched((B, C)), (m.Run(B),), (B, C)),
        ("idle", m.Dispatched((B, B)), (m.Run(B),), (B,)),
        ("idle", m.CancelAsked((B.key,)), (), ()),
        ("idle", m.Ended(done(B)), (), ()),
        ("idle", m.Unregistered(), (), ()),
        ("queued", m.Dispatched((B,)), (), (A, B)),
        ("queued", m.CancelAsked((B.key,)), (m.Report(cancelled(B)),), (A,)),
        ("queued", m.Ended(done(A)), (m.Report(done(A)), m.Run(B)), (B,)),
        ("queued", m.Unregistered(), (m.Stop(A.key),), ()),
        ("queued", m.Registered(2), (m.Stop(A.key),), ()),
        ("running", m.Dispatched((B,)), (), (B,)),
        ("running", m.CancelAsked((B.key,)), (m.Stop(B.key),), (B,)),
        ("running", m.Ended(done(B)), (m.Report(done(B)),), ()),
        (
            "running",
            m.Ended(TaskFailure(B.key, WorkerLost("gone"))),
            (m.Report(TaskFailure(B.key, WorkerLost("gone"))),),
            (),
        ),
        ("running", m.Unregistered(), (m.Stop(B.key),), ()),
        ("stopping", m.Dispatched((B,)), (), (B,)),
        ("stopping", m.CancelAsked((B.key,)), (), (B,)),
        ("stopping", m.Ended(cancelled(B)), (m.Report(cancelled(B)),), ()),
        ("stopping", m.Ended(done(B)), (m.Report(done(B)),), ()),
        ("stopping", m.Unregistered(), (), ()),
        ("ended", m.Dispatched((B,)), (), ()),
        ("ended", m.CancelAsked((B.key,)), (), ()),
        ("ended", m.Ended(done(B)), (), ()),
        ("cancelled before", m.Dispatched((B,)), (), ()),
    ],
)
def test_table(
    start: str, event: m.Event, commands: tuple[m.Command, ...], attempts: tuple[TaskSpec, ...]
) -> None:
    tested = machine(*START[start])
    assert tested.step(event) == commands
    assert tested.attempts == tuple(task.key for task in attempts)


def test_nothing_is_taken_without_an_epoch() -> None:
    tested = m.Machine(1)
    assert tested.step(m.Dispatched((A,))) == ()
    assert tested.attempts == ()


def test_an_attempt_of_an_ended_epoch_keeps_its_slot_but_is_not_reported() -> None:
    tested = machine(m.Dispatched((A,)), m.Unregistered(), m.Registered(2))
    assert tested.free_slots == 0
    assert tested.step(m.Dispatched((B,))) == ()
    assert tested.attempts == (B.key,)
    assert tested.step(m.Ended(done(A))) == (m.Discard(A.key), m.Run(B))
    assert tested.free_slots == 0


def test_an_attempt_may_be_taken_again_under_a_new_epoch_once_it_is_over() -> None:
    tested = machine(m.Dispatched((A,)), m.Ended(done(A)), m.Unregistered(), m.Registered(2))
    assert tested.step(m.Dispatched((A,))) == (m.Run(A),)


def test_slots_fill_in_the_order_of_dispatch() -> None:
    tested = machine(slots=2)
    assert tested.step(m.Dispatched((C, B, A))) == (m.Run(C), m.Run(B))
    assert tested.step(m.Ended(done(B))) == (m.Report(done(B)), m.Run(A))


def test_memory_of_attempts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "MAX_REMEMBERED", 3)
    tested = machine(slots=1)
    for number in range(10):
        tested.step(m.Dispatched((spec(number),)))
        tested.step(m.Ended(done(spec(number))))
    assert len(tested._taken) == 3
    assert tested.step(m.Dispatched((spec(9),))) == ()
