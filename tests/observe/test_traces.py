"""Traces of jobs: what is in them, and what a collector receives of a real master."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import polars as pl
import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.observe.test_record import end, key, ran

from minispark import Engine
from minispark.client import LocalCluster
from minispark.errors import Cancelled, JobFailedError, UsageError
from minispark.observe import traces
from minispark.observe.traces import Traces, otlp_exporter, spans_of

DEADLINE_S = 60


def test_a_trace_has_a_job_its_stages_and_their_attempts() -> None:
    record = ran()
    end(record)
    spans = {span.name: span for span in spans_of(record, cluster_id="c")}
    assert len(spans) == 1 + 2 + 6
    job = spans["job j"]
    assert (job.start_time, job.end_time) == (100 * 10**9, 105 * 10**9)
    assert job.parent is None
    assert job.attributes is not None
    assert job.attributes["minispark.job.status"] == "SUCCEEDED"
    assert job.resource.attributes["service.name"] == "minispark"
    stage, again = spans["stage-0 map"], spans["stage-0 task 2 attempt 2"]
    assert job.context is not None
    assert stage.context is not None
    assert stage.parent is not None
    assert again.parent is not None
    assert stage.parent.span_id == job.context.span_id
    assert again.parent.span_id == stage.context.span_id
    assert {span.context.trace_id for span in spans.values() if span.context} == {
        job.context.trace_id
    }
    assert (stage.start_time, stage.end_time) == (101 * 10**9, 103 * 10**9)
    failed = spans["stage-0 task 2 attempt 1"]
    assert failed.status.status_code is StatusCode.ERROR
    assert "disk" in str(failed.status.description)
    assert failed.attributes is not None
    assert again.attributes is not None
    assert (failed.attributes["error.type"], failed.attributes["minispark.worker.id"]) == (
        "task_error",
        "w1",
    )
    assert again.attributes["minispark.worker.id"] == "w2"
    assert again.attributes["minispark.task.attempt"] == 2, "as in its name"
    assert job.status.status_code is StatusCode.UNSET


def test_what_is_too_much_for_a_picture_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traces, "MAX_ATTEMPTS", 2)
    record = ran()
    record.failed(key(1, 0), Cancelled(), "w1", 104.0)
    end(record)
    spans = spans_of(record, cluster_id="c")
    assert len(spans) == 1 + 1 + 2
    attributes = spans[-1].attributes
    assert attributes is not None
    assert attributes["minispark.job.attempts_left_out"] == 4


def test_large_traces_go_out_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "_BATCH", 4)
    record = ran()
    end(record)
    exporter = InMemorySpanExporter()
    sent = Traces(exporter, cluster_id="c").export(record)
    (job,) = [span for span in exporter.get_finished_spans() if span.parent is None]
    assert job.context is not None
    assert sent == f"{job.context.trace_id:032x}"
    assert len(exporter.get_finished_spans()) == 9
    exporter.shutdown()
    assert Traces(exporter, cluster_id="c").export(record) is None


def test_an_endpoint_that_is_no_url() -> None:
    with pytest.raises(UsageError, match="go to a URL"):
        otlp_exporter("localhost:4318")


class Collector:
    """A collector on loopback: takes OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.paths: set[str] = set()
        self.changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = ExportTraceServiceRequest.FromString(body)
                with collector.changed:
                    collector.paths.add(self.path)
                    for resource in request.resource_spans:
                        for scope in resource.scope_spans:
                            collector.spans.extend(scope.spans)
                    collector.changed.notify_all()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def roots(self) -> list[Any]:
        return [span for span in self.spans if not span.parent_span_id]

    def until_jobs(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.roots()) >= count, DEADLINE_S)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


@pytest.mark.process
def test_a_master_sends_the_trace_of_each_job(collector: Collector) -> None:
    with LocalCluster(1, master_options=("--otlp", collector.url)) as cluster:
        engine = Engine(cluster.url, token=cluster.token, progress=False)
        assert pl.LazyFrame({"a": [1]}).collect(engine=engine).height == 1
        collector.until_jobs(1)
        with pytest.raises(JobFailedError):
            pl.LazyFrame({"a": [1]}).select(pl.col("a").cast(pl.Utf8).str.to_date()).collect(
                engine=engine
            )
        collector.until_jobs(2)
        jobs = {view.job_id for view in cluster.client.jobs()}
    assert {root.name.removeprefix("job ") for root in collector.roots()} == jobs
    assert collector.paths == {"/v1/traces"}
    traces_seen = {span.trace_id for span in collector.spans}
    assert len(traces_seen) == 2
    bad = [span for span in collector.spans if span.status.code == 2]
    assert {span.name.split()[0] for span in bad} == {"job", "stage-0"}
    for span in collector.spans:
        assert span.end_time_unix_nano >= span.start_time_unix_nano > 0
