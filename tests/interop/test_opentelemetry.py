"""Stock OpenTelemetry SDKs, which know nothing of us: what they ship is found with what our own services ship."""

import logging
import os
import subprocess

import grpc
import pytest
from conftest import PATIENCE
from homeroom.grades.v1 import grades_pb2, grades_pb2_grpc
from homeroom.log.v1 import log_pb2
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import client_interceptor
from opentelemetry.instrumentation.grpc.grpcext import intercept_channel
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


class Sdk:
    """The SDK of one Python process, as its documentation sets it up."""

    def __init__(self, address, service):
        # A proxy of the environment is not meant for this machine.
        to = {"endpoint": address, "insecure": True, "channel_options": (("grpc.enable_http_proxy", 0),)}
        resource = Resource.create({"service.name": service, "service.instance.id": "python-1"})
        self.tracers = TracerProvider(resource=resource)
        spans = OTLPSpanExporter(**to, compression=grpc.Compression.Gzip)
        self.tracers.add_span_processor(BatchSpanProcessor(spans))
        self.tracer = self.tracers.get_tracer("interop", "1.2.3")
        self.loggers = LoggerProvider(resource=resource)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**to)))
        self.logger = logging.getLogger(service)
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        self.logger.addHandler(LoggingHandler(logger_provider=self.loggers))

    def flush(self):
        """Ships what there is; Log has it then."""
        assert self.tracers.force_flush(PATIENCE * 1000) and self.loggers.force_flush(PATIENCE * 1000)

    def shutdown(self):
        self.tracers.shutdown()
        self.loggers.shutdown()


@pytest.fixture
def sdk(mesh, service):
    sdk = Sdk(mesh.log, service)
    yield sdk
    sdk.shutdown()


def get_trace(log, trace_id):
    return log.GetTrace(log_pb2.GetTraceRequest(trace_id=trace_id), timeout=PATIENCE)


def ids(span):
    """The trace id and the span id of a span, in hexadecimal."""
    context = span.get_span_context()
    return format(context.trace_id, "032x"), format(context.span_id, "016x")


def test_logs_and_spans_of_the_python_sdk_are_found_as_they_were_shipped(log, service, sdk):
    with sdk.tracer.start_as_current_span("sell", attributes={"basket.size": 3}) as root:
        sdk.logger.warning("only %d left\n", 2, extra={"article": "chalk"})
        with pytest.raises(ValueError), sdk.tracer.start_as_current_span("pay") as child:
            raise ValueError("no money")
    sdk.flush()
    trace_id, root_id = ids(root)
    answer = get_trace(log, trace_id)

    sell, pay = answer.spans
    assert [(span.entry.message, span.depth, span.is_orphan) for span in answer.spans] == [
        ("sell", 0, False),
        ("pay", 1, False),
    ]
    assert (sell.entry.span_id, pay.entry.span_id) == (root_id, ids(child)[1])
    assert sell.entry.attributes["basket.size"] == "3"
    assert sell.entry.span.end_time.ToNanoseconds() == root.end_time
    assert (pay.entry.span.parent_span_id, pay.entry.severity) == (root_id, log_pb2.SEVERITY_ERROR)
    assert pay.entry.span.status == log_pb2.SPAN_STATUS_ERROR
    assert pay.entry.span.status_message == "ValueError: no money"
    (event,) = pay.entry.span.events
    assert (event.name, event.attributes["exception.message"]) == ("exception", "no money")

    (entry,) = answer.entries
    assert (entry.message, entry.severity) == ("only 2 left\n", log_pb2.SEVERITY_WARN)
    assert (entry.trace_id, entry.span_id) == (trace_id, root_id)
    assert entry.attributes["article"] == "chalk"
    for each in [entry, sell.entry, pay.entry]:
        assert (each.service, each.instance) == (service, "python-1")
        assert each.resource["telemetry.sdk.language"] == "python"
    assert (sell.entry.scope.name, sell.entry.scope.version) == ("interop", "1.2.3")


def wait_for(log, trace_id, of_service):
    """Waits until a trace has a server's span of a service: that ships when it likes."""
    filter = log_pb2.Filter(trace_id=trace_id, services=[of_service], kind=log_pb2.ENTRY_KIND_SPAN)
    tail = log.Tail(log_pb2.TailRequest(filter=filter, after_sequence=0), timeout=PATIENCE)
    spans = (entry for part in tail for entry in part.entries)
    found = next(entry for entry in spans if entry.span.kind == log_pb2.SPAN_KIND_SERVER)
    tail.cancel()
    return found


def test_a_call_of_a_python_process_is_one_trace_with_what_grades_did(mesh, log, channels, service, sdk):
    traced = intercept_channel(channels["grades"], client_interceptor(sdk.tracers))
    grade = grades_pb2.Grade(title="Trace", type=grades_pb2.GRADE_TYPE_QUIZ, score=2)
    with sdk.tracer.start_as_current_span("mark") as root:
        request = grades_pb2.AddGradeRequest(student_id=5, grade=grade)
        grades_pb2_grpc.GradesStub(traced).AddGrade(request, timeout=PATIENCE)
    sdk.flush()
    trace_id, _ = ids(root)
    wait_for(log, trace_id, "grades")
    answer = get_trace(log, trace_id)

    mark, call, served = [span.entry for span in answer.spans][:3]
    assert [span.depth for span in answer.spans][:3] == [0, 1, 2]
    assert not answer.missing_span_ids and not any(span.is_orphan for span in answer.spans)
    assert [entry.service for entry in (mark, call, served)] == [service, service, "grades"]
    assert (call.span.kind, served.span.kind) == (log_pb2.SPAN_KIND_CLIENT, log_pb2.SPAN_KIND_SERVER)
    assert call.span.parent_span_id == mark.span_id and served.span.parent_span_id == call.span_id
    assert served.attributes["rpc.method"].endswith("AddGrade")
    assert served.instance == mesh.grades
    (added,) = [entry for entry in answer.entries if entry.message == "grade added"]
    assert (added.service, added.span_id) == ("grades", served.span_id)

    listed = log.ListTraces(log_pb2.ListTracesRequest(services=[service]), timeout=PATIENCE)
    (trace,) = listed.traces
    assert (trace.trace_id, trace.service, trace.name) == (trace_id, service, "mark")
    assert list(trace.services) == sorted(["grades", service])
    assert (trace.spans, trace.errors) == (len(answer.spans), 0)


@pytest.mark.skipif("NODE_SHIPPER" not in os.environ, reason="there is no Node")
def test_a_log_and_a_span_of_the_node_sdk_are_found(mesh, log, service):
    shipper = ["node", os.environ["NODE_SHIPPER"], mesh.log, service]
    done = subprocess.run(shipper, capture_output=True, text=True, timeout=3 * PATIENCE)
    assert done.returncode == 0, done.stderr
    answer = get_trace(log, done.stdout.strip())
    (span,), (entry,) = answer.spans, answer.entries
    assert (span.entry.message, span.entry.span.kind) == ("deliver", log_pb2.SPAN_KIND_PRODUCER)
    assert (span.entry.span.status, span.entry.span.status_message) == (log_pb2.SPAN_STATUS_ERROR, "lost")
    assert (entry.message, entry.severity) == ("parcel lost", log_pb2.SEVERITY_ERROR)
    assert entry.span_id == span.entry.span_id
    for each in [span.entry, entry]:
        assert (each.service, each.instance, each.attributes["parcel.id"]) == (service, "node-1", "7")
        assert each.resource["telemetry.sdk.language"] == "nodejs"
