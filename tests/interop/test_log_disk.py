"""What Log keeps on disk: full disks, retention, and files that other people's tools read."""

import io
import json
import secrets
import shutil
import subprocess

import grpc
import pytest
import zstandard
from conftest import PATIENCE
from google.rpc import error_details_pb2, status_pb2
from homeroom.log.v1 import log_pb2, log_pb2_grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

MIB = 1 << 20
# No disk has so much room.
TOO_MUCH = 1 << 50


def entries(count):
    """Entries that hardly shrink when they are compressed."""
    return [log_pb2.Entry(service="disk", message=secrets.token_hex(500)) for _ in range(count)]


def write(channel):
    return log_pb2_grpc.LogStub(channel).Write(log_pb2.WriteRequest(entries=entries(1)), timeout=PATIENCE)


def ingest(channel):
    requests = iter([log_pb2.IngestRequest(batch=1, entries=entries(1))])
    return list(log_pb2_grpc.LogStub(channel).Ingest(requests, timeout=PATIENCE))


def export_logs(channel):
    record = logs_pb2.LogRecord(body=common_pb2.AnyValue(string_value="one"))
    scope = logs_pb2.ScopeLogs(log_records=[record])
    request = logs_service_pb2.ExportLogsServiceRequest(resource_logs=[logs_pb2.ResourceLogs(scope_logs=[scope])])
    return logs_service_pb2_grpc.LogsServiceStub(channel).Export(request, timeout=PATIENCE)


def export_spans(channel):
    ids = {"trace_id": b"t" * 16, "span_id": b"s" * 8}
    span = trace_pb2.Span(name="one", start_time_unix_nano=1, end_time_unix_nano=2, **ids)
    scope = trace_pb2.ScopeSpans(spans=[span])
    request = trace_service_pb2.ExportTraceServiceRequest(
        resource_spans=[trace_pb2.ResourceSpans(scope_spans=[scope])]
    )
    return trace_service_pb2_grpc.TraceServiceStub(channel).Export(request, timeout=PATIENCE)


@pytest.mark.parametrize("send", [write, ingest, export_logs, export_spans])
def test_a_full_disk_is_told_with_when_to_come_back(start_log, send):
    with start_log("--retention-free", str(TOO_MUCH)) as log:
        with pytest.raises(grpc.RpcError) as raised:
            send(log.channel)
        status = log.stub.GetStatus(log_pb2.GetStatusRequest(), timeout=PATIENCE)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    packed = dict(raised.value.trailing_metadata())["grpc-status-details-bin"]
    details = {detail.TypeName(): detail for detail in status_pb2.Status.FromString(packed).details}
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert details["google.rpc.ErrorInfo"].Unpack(info) and details["google.rpc.RetryInfo"].Unpack(retry)
    assert info.reason == "DISK_FULL" and retry.retry_delay.ToMilliseconds() > 0
    assert status.store.state == log_pb2.STORE_STATE_FULL and status.store.cause
    assert status.last_sequence == 0


def write_until(log, done, batches=300):
    """Writes batches of some 200 KB until something has happened: what Log does, it does in the background."""
    for _ in range(batches):
        log.stub.Write(log_pb2.WriteRequest(entries=entries(200)), timeout=PATIENCE)
        if done():
            return
    pytest.fail(f"{batches} batches were written, and it did not happen")


def test_retention_deletes_the_oldest_segments_and_says_so(start_log):
    limit = 4 * MIB
    with start_log("--segment-size", str(MIB), "--retention-size", str(limit)) as log:
        status = lambda: log.stub.GetStatus(log_pb2.GetStatusRequest(), timeout=PATIENCE)  # noqa: E731
        write_until(log, lambda: status().retention.deleted_segments >= 2)
        told = status()
        assert told.retention.size_max_bytes == limit
        assert told.retention.deleted_entries == told.first_sequence - 1 > 0
        assert told.store.segments >= 2 and told.store.state == log_pb2.STORE_STATE_OK

        oldest = log.stub.Query(log_pb2.QueryRequest(page_size=1), timeout=PATIENCE).entries[0]
        assert oldest.sequence >= told.first_sequence
        # Who has the first entry has missed those that were deleted after it.
        tail = log.stub.Tail(log_pb2.TailRequest(after_sequence=1), timeout=PATIENCE)
        dropped = next(part for part in tail if part.HasField("dropped")).dropped
        tail.cancel()
        assert dropped.first_sequence == 2
        assert dropped.count == dropped.last_sequence - 1 >= told.retention.deleted_entries - 1


def by_program(file):
    """What `zstd -dc` makes of a file."""
    if not shutil.which("zstd"):
        pytest.skip("there is no zstd")
    return subprocess.run(["zstd", "-dc", file], check=True, capture_output=True, timeout=PATIENCE).stdout


def by_library(file):
    """What the library makes of a file, with all its frames."""
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(file.read_bytes()), read_across_frames=True) as text:
        return text.read()


@pytest.mark.parametrize("decompress", [by_program, by_library])
def test_a_sealed_segment_is_zstd_of_json_lines(start_log, decompress):
    with start_log("--segment-size", str(MIB)) as log:
        sealed = lambda: sorted(log.data_dir.glob("log-*.jsonl.zst"))  # noqa: E731
        write_until(log, sealed)
        file = sealed()[0]
        lines = decompress(file).splitlines()
    numbers = [json.loads(line)["seq"] for line in lines]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 500
    assert file.stat().st_mode & 0o777 == 0o600
