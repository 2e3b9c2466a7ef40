"""An ended job as an OpenTelemetry trace: the job, its stages, their attempts.

::

    job job-0933ee8c-1-1            submission to end
      stage-0 map                   first launch to last end of an attempt
        stage-0 task 3 attempt 1    launch to end, with worker, failure, rows

Created from a job's record at its end: a running job pays nothing, and a master that was started
again exports the whole job. OpenTelemetry is the extra ``otel``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minispark.errors import UsageError
from minispark.observe.record import JobRecord
from minispark.observe.stage_state import Attempt, StageState

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

MAX_ATTEMPTS = 10_000
"""Attempts of a job that become spans; more take seconds, and no picture can show them."""
_BATCH = 512
"""Spans in one request, as in OpenTelemetry's own exporters."""
_TIMEOUT_S = 10.0


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Return an exporter to a collector over OTLP/HTTP, such as ``http://127.0.0.1:4318``.

    Raises
    ------
    UsageError
        The endpoint is not a URL, or OpenTelemetry is not installed.
    """
    if not endpoint.startswith(("http://", "https://")):
        msg = f"traces go to a URL, not to {endpoint!r}"
        hint = "Such as --otlp http://127.0.0.1:4318."
        raise UsageError(msg, field="otlp", hint=hint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        msg = "traces need OpenTelemetry, which is not installed"
        raise UsageError(msg, hint='pip install "minispark-engine[otel]"') from error
    url = endpoint.rstrip("/")
    path = "" if url.endswith("/v1/traces") else "/v1/traces"
    return OTLPSpanExporter(endpoint=url + path, timeout=_TIMEOUT_S)


class Traces:
    """Sends ended jobs to an exporter. Its calls block: do not call them in an event loop."""

    def __init__(self, exporter: SpanExporter, *, cluster_id: str) -> None:
        self._exporter = exporter
        self._cluster_id = cluster_id

    def export(self, record: JobRecord) -> str | None:
        """Send the trace of a job and return its id; None if the collector refused it."""
        from opentelemetry.sdk.trace.export import SpanExportResult
        from opentelemetry.trace import format_trace_id

        spans = spans_of(record, cluster_id=self._cluster_id)
        for start in range(0, len(spans), _BATCH):
            result = self._exporter.export(spans[start : start + _BATCH])
            if result is not SpanExportResult.SUCCESS:
                return None
        context = spans[-1].context
        return None if context is None else format_trace_id(context.trace_id)

    def close(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()


def spans_of(record: JobRecord, *, cluster_id: str) -> Sequence[ReadableSpan]:
    """Return the spans of an ended job; the job's own span is the last."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    collected = InMemorySpanExporter()
    attributes = {"service.name": "minispark", "minispark.cluster.id": cluster_id}
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(collected))
    _SpanBuilder(record, provider.get_tracer("minispark")).job()
    return collected.get_finished_spans()


class _SpanBuilder:
    """Creates the spans of one job."""

    def __init__(self, record: JobRecord, tracer: Any) -> None:
        self._record = record
        self._tracer = tracer
        self._until = record.finished_at or record.submitted_at
        self._attempts = list(record.attempts.values())[:MAX_ATTEMPTS]

    def job(self) -> None:
        """Create the span of the job and all its children."""
        record, view = self._record, self._record.view()
        metrics = record.metrics()
        span = self._tracer.start_span(
            f"job {record.job_id}",
            start_time=_ns(record.submitted_at),
            attributes={
                "minispark.job.id": record.job_id,
                "minispark.job.name": record.name,
                "minispark.job.status": view.status.value,
                "minispark.job.tasks": metrics.tasks,
                "minispark.job.retries": metrics.retries,
                "minispark.job.input_records": metrics.input_records,
                "minispark.job.bytes_shuffled": metrics.bytes_shuffled,
                "minispark.job.attempts_left_out": len(record.attempts) - len(self._attempts),
            },
        )
        for state in record.stages.values():
            self._stage(state, parent=span)
        if view.error is not None:
            span.set_attribute("minispark.error.code", view.error.code)
            _fail(span, view.error.message)
        span.end(end_time=_ns(self._until))

    def _stage(self, state: StageState, *, parent: Any) -> None:
        attempts = [each for each in self._attempts if each.key.stage == state.stage.id]
        if not attempts:
            return
        status = state.status(self._record.status)
        span = self._tracer.start_span(
            f"stage-{state.stage.id} {state.stage.name}",
            context=_inside(parent),
            start_time=_ns(min(attempt.started_at for attempt in attempts)),
            attributes={
                "minispark.stage.id": f"stage-{state.stage.id}",
                "minispark.stage.status": status,
                "minispark.stage.label": state.stage.label.value,
                "minispark.stage.nodes": list(state.stage.nodes),
                "minispark.stage.tasks": state.stage.partitions,
                "minispark.stage.rows_out": state.totals.rows_out,
            },
        )
        for attempt in attempts:
            self._attempt(attempt, state, parent=span)
        if status == "FAILED":
            _fail(span, "the stage failed")
        span.end(end_time=_ns(max(self._end(attempt) for attempt in attempts)))

    def _attempt(self, attempt: Attempt, state: StageState, *, parent: Any) -> None:
        key = attempt.key
        span = self._tracer.start_span(
            f"stage-{key.stage} task {key.partition} attempt {key.attempt_number}",
            context=_inside(parent),
            start_time=_ns(attempt.started_at),
            attributes={
                "minispark.task.id": key.block_id,
                "minispark.task.partition": key.partition,
                "minispark.task.attempt": key.attempt_number,
                "minispark.task.generation": key.generation,
                "minispark.task.status": attempt.status,
                "minispark.worker.id": attempt.worker,
            },
        )
        report = state.reports.get(key.partition)
        if report is not None and report.key == key:
            span.set_attribute("minispark.task.rows_in", report.rows_in)
            span.set_attribute("minispark.task.duration_s", report.duration_s)
        if attempt.failure is not None and attempt.status == "FAILED":
            info = self._record.explain(attempt.failure, key)
            span.set_attribute("error.type", attempt.failure.kind)
            span.set_attribute("minispark.error.code", info.code)
            _fail(span, info.message)
        span.end(end_time=_ns(self._end(attempt)))

    def _end(self, attempt: Attempt) -> float:
        # An attempt that still ran at the end of its job ends with the job.
        return max(attempt.started_at, attempt.finished_at or self._until)


def _inside(parent: Any) -> Any:
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(parent)


def _fail(span: Any, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, why))


def _ns(at: float) -> int:
    return int(at * 1e9)
