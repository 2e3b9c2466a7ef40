"""What a message may hold: finite numbers that can be stored, and bounded lengths, in every field.

The rules of each model are read from its own schema, so a new field without bounds fails here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from minispark.blocks.cache import CacheChanges, CachedBlock
from minispark.blocks.meta import BlockMeta, BlockSource, PartitionMeta
from minispark.bounds import MAX_COUNT
from minispark.errors import ErrorInfo, FetchFailed, OutOfMemory, TaskError, TimedOut, WorkerLost
from minispark.ids import TaskKey
from minispark.plan.stages import (
    Branch,
    CachedNode,
    Label,
    Output,
    OutputKind,
    ReadMode,
    ResultSpec,
    ScanFormat,
    ScanInput,
    ScanSpec,
    SinkSpec,
    Split,
    Stage,
    StageGraph,
    StageInput,
)
from minispark.task.spec import (
    FragmentKey,
    InputGeneration,
    ScanTask,
    SinkFile,
    TaskFailure,
    TaskInput,
    TaskReport,
    TaskSpec,
)
from minispark.wire import messages
from minispark.wire.http import versions

MODELS = [
    model
    for model in vars(messages).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model is not BaseModel
]
NEED_BOUNDS = {
    "str": ("max_length",),
    "bytes": ("max_length",),
    "tuple": ("max_length",),
    "list": ("max_length",),
    "dict": ("max_length",),
    "int": ("ge", "le"),
    "float": ("ge", "le"),
}


def unbounded(schema: Any, path: str, seen: set[str]) -> Iterator[str]:
    """Give the places in a schema of Pydantic where a value may be of any size."""
    if isinstance(schema, list | tuple):
        for item in schema:
            yield from unbounded(item, path, seen)
        return
    if not isinstance(schema, dict) or (schema.get("ref") in seen and "ref" in schema):
        return
    seen.add(schema.get("ref", ""))
    kind = schema.get("type")
    if kind == "any" and not path.endswith("function-after"):
        yield f"{path}: anything"
    of_fixed_length = kind == "tuple" and "variadic_item_index" not in schema
    if (
        kind in NEED_BOUNDS
        and not of_fixed_length
        and not all(name in schema for name in NEED_BOUNDS[kind])
    ):
        yield f"{path}: {kind}"
    if kind == "float" and schema.get("allow_inf_nan") is not False:
        yield f"{path}: not finite"
    for name, inner in schema.items():
        if name == "fields" and isinstance(inner, dict):
            for field, of_field in inner.items():
                yield from unbounded(of_field, f"{path}.{field}", seen)
        elif name not in ("metadata", "serialization", "default", "config"):
            step = f"{path}.{schema['name']}" if "name" in schema else path
            step = f"{step}/{kind}" if kind == "function-after" else step
            yield from unbounded(inner, step, seen)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_bounded(model: type[BaseModel]) -> None:
    assert list(unbounded(model.__pydantic_core_schema__, model.__name__, set())) == []


def test_a_field_without_bounds_is_found() -> None:
    """The test above can fail."""
    for kind in (str, int, float, bytes, tuple[int, ...], dict[str, int], Any):
        assert list(unbounded(TypeAdapter(kind).core_schema, "", set())), kind


KEY = TaskKey("job-c-1-1", 1, 0, 2, 0)
BLOCK = BlockMeta((PartitionMeta(0, 10, 3, 2**64 - 1, 7),))
SOURCE = BlockSource(KEY, 0, BLOCK.partitions[0], "host", "/work", "http://w:1", KEY)
SPLIT = Split("in.csv", 0, 9, 9, -1)
SPEC = ScanSpec(ScanFormat.CSV, {"schema": {"a": "Int64"}, "skip_rows": 1, "ratio": 0.5})
INFO = ErrorInfo("MS-1", "m", "n", "f", "/x", 1, "h", "d", "s1", 2, ("line",))
GRAPH = StageGraph(
    (
        Stage(
            0,
            "all",
            (
                Branch(
                    b"\x00\xff",
                    1,
                    (ScanInput("in", SPEC, ((SPLIT,),), "quotes"),),
                    (StageInput("x", 0, ReadMode.ALL),),
                ),
            ),
            Output(OutputKind.SINK, 1, (b"k",), SinkSpec("csv", "out"), ("k",)),
            Label.DETERMINATE,
            ("n",),
            ("a",),
            "why",
            CachedNode("n", "key"),
        ),
    ),
    (ResultSpec("n", 0, ("a",)),),
    {"n": ("m",)},
    5,
    "2.1.0",
    "SELECT",
)
TASK = TaskSpec(
    KEY,
    b"\x00",
    (ScanTask("in", SPEC, (SPLIT,), "q"),),
    (TaskInput("x", 0, 1, (SOURCE,)),),
    Output(OutputKind.HASH, 2, (b"k",), columns=(("a", "Int64"),), take=3),
    block_directory="/work",
    data_root="/data",
    timeout_s=3.5,
    keep=KEY,
    optimizations=(("sort_collapse", False),),
)
REPORT = TaskReport(
    KEY,
    BLOCK,
    (InputGeneration(0, 1),),
    {"n": 3},
    1,
    2,
    3,
    0.5,
    SinkFile("staged", "final", 3, 30, 7),
)
FAILURES = (
    TaskError(INFO, transient=True),
    FetchFailed(*KEY, "gone"),
    WorkerLost("gone"),
    OutOfMemory(1, 2, "given", ("a",)),
    TimedOut(1.5),
)
MEMBER = messages.Membership(cluster_id="c", epoch=1)
CHANGES = CacheChanges(0, 3, (CachedBlock(KEY, BLOCK),), (KEY,))
FETCH = messages.BlockFetch(key=KEY, host="h", directory="/w", url="http://w:1", bytes=5, kept=KEY)
FRAGMENT = messages.Fragment(key=FragmentKey("j", 0, 1), data=b"\x00\xff")
POLL: dict[str, Any] = {
    "tasks": (TASK,),
    "fragments": (FRAGMENT,),
    "cancel": (KEY,),
    "release": (KEY.block_id,),
    "release_jobs": ("j",),
    "move": (FETCH,),
    "cache_used": (KEY.block_id,),
    "cache_drop": (KEY.block_id,),
    "master_epoch": 2,
}
EXAMPLES: list[BaseModel] = [
    versions(),
    MEMBER,
    FETCH,
    messages.RegisterRequest(
        worker_id="w",
        url="http://w:1",
        host="h",
        directory="/w",
        slots=1,
        versions=versions(),
        hashes=(2**64 - 1,),
    ),
    messages.WorkerFacts(host="h", system="Linux", cores=2, memory_limit_bytes=1 << 30),
    messages.RegisterReply(member=MEMBER, master_epoch=1),
    messages.PollRequest(member=MEMBER, wait_s=1.5),
    messages.PollReply(**POLL),
    FRAGMENT,
    messages.FragmentRequest(member=MEMBER, key=FRAGMENT.key),
    messages.FragmentReply(fragment=FRAGMENT, master_epoch=2),
    messages.ReportReply(**POLL, cache_version=3),
    messages.ReportRequest(
        member=MEMBER,
        reports=(REPORT, *(TaskFailure(KEY, f, (InputGeneration(0, 1),)) for f in FAILURES)),
        moved=(KEY,),
        cache=CHANGES,
    ),
    messages.HeartbeatRequest(
        member=MEMBER,
        attempts=(KEY,),
        metrics={"memory_bytes": 1e9},
        held_jobs=("j",),
        full="disk",
        cache=CHANGES,
    ),
    messages.WorkerReply(master_epoch=1, keep={"j": (KEY.block_id,)}, cache_version=1),
    messages.PlannedJob(name="n", graph=GRAPH, versions=versions()),
    messages.GraphMessage(graph=GRAPH),
    messages.JobAccepted(job_id="j"),
    messages.NodeBlocks(node="n", columns=("a",), rows=3, blocks=(SOURCE,)),
    messages.ResultBlocks(
        nodes=(messages.NodeBlocks(node="n", columns=("a",), rows=3, blocks=(SOURCE,)),),
        ticket="t",
    ),
]
NUMBERS = [math.nan, math.inf, -math.inf, -1, -1e308, 1e308, 2**63, 2**64, 10**30, 10**400]
AS_LONG_AS_A_BODY = {"logical", "fragment", "keys", "data"}
"""Fields that hold a plan."""


def test_there_is_an_example_of_every_model() -> None:
    shown = {type(example) for example in EXAMPLES}
    assert {model for model in MODELS if not model.__name__.startswith("_")} == shown


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every value in a JSON document, also of what holds others."""
    yield path
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from places(inner, (*path, key))


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a document in which one value is another."""
    if not path:
        return new
    if isinstance(value, dict):
        return {**value, path[0]: with_value(value[path[0]], path[1:], new)}
    copy = list(value)
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


def check_bounded(value: Any, where: str) -> None:
    """Fail on a number that a later reader cannot store or write as JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_bounded(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            check_bounded(inner, where)
    elif isinstance(value, int | float):
        assert -MAX_COUNT <= value <= 2**64, where


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_hostile_values_are_refused_or_harmless(example: BaseModel) -> None:
    """Every number, text and list in turn is not finite, negative, huge or long."""
    model, document = type(example), json.loads(example.model_dump_json())
    assert model.model_validate_json(json.dumps(document)) == example
    refused = 0
    for path in places(document):
        for number in NUMBERS:
            text = json.dumps(with_value(document, path, number))
            try:
                read = model.model_validate_json(text)
            except ValidationError:
                refused += 1
                continue
            written = json.loads(read.model_dump_json())
            check_bounded(written, f"{path} = {number}")
            assert model.model_validate_json(json.dumps(written, allow_nan=False)) == read
    assert refused


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_absurd_lengths_are_refused(example: BaseModel) -> None:
    model, document = type(example), json.loads(example.model_dump_json())
    for path in places(document):
        if not AS_LONG_AS_A_BODY.isdisjoint(path) or not isinstance(value_at(document, path), str):
            continue
        longer = with_value(document, path, "x" * 110_000)
        with pytest.raises(ValidationError):
            model.model_validate_json(json.dumps(longer))


def value_at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return the value in a document at a path."""
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_very_many_mistakes_are_not_listed(example: BaseModel) -> None:
    """To make a list of a million mistakes, of which one is told, takes ten seconds."""
    model, document = type(example), json.loads(example.model_dump_json())
    wrong = {f"k{number}": None for number in range(10_001)}
    for path in places(document):
        value = value_at(document, path)
        for new in ([None] * 1_000, {**wrong, **value} if isinstance(value, dict) else wrong):
            text = json.dumps(with_value(document, path, new))
            try:
                model.model_validate_json(text)
            except ValidationError as error:
                assert error.error_count() < 50, path
