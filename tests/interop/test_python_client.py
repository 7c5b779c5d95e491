"""A service in Python, with nothing but grpcio and code that protoc made, as a member of the mesh."""

import contextlib
import http.server
import json
import socket
import threading
import uuid
from concurrent import futures

import grpc
import pytest
from conftest import PATIENCE
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from homeroom.grades.v1 import grades_pb2
from homeroom.log.v1 import log_pb2
from homeroom.registry.v1 import registry_pb2

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class PythonServer:
    """A gRPC server on a free port, with the health service of grpcio, or without."""

    def __init__(self, has_health=True):
        # A port that others could share would not refuse once this server is gone.
        options = [("grpc.so_reuseport", 0)]
        self.server = grpc.server(futures.ThreadPoolExecutor(), options=options)
        if has_health:
            self.health = health.HealthServicer()
            self.health.set("", SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def stop(self):
        """Stops without a word to anybody."""
        self.server.stop(grace=None).wait(PATIENCE)


@pytest.fixture
def python_server():
    server = PythonServer()
    yield server
    server.stop()


def register(registry, service, address, **more):
    """Registers an address, and gets the answer once the first probe has ended."""
    instance = registry_pb2.Instance(service=service, address=address, **more)
    return registry.Register(registry_pb2.RegisterRequest(instance=instance, verify=True), timeout=PATIENCE)


@contextlib.contextmanager
def opened(stream):
    """A stream, cancelled at the end."""
    try:
        yield stream
    finally:
        stream.cancel()


def watch(registry, service, **more):
    """Opens a watch of a service."""
    request = registry_pb2.WatchServicesRequest(services=[service], **more)
    return opened(registry.WatchServices(request, timeout=PATIENCE))


def failure(call):
    """The code and the details of a call that fails, each by its type, out of `grpc-status-details-bin`."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    metadata = dict(raised.value.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.code == raised.value.code().value[0]
    assert status.message == raised.value.details()
    details = {}
    for packed in status.details:
        detail = getattr(error_details_pb2, packed.TypeName().removeprefix("google.rpc."))()
        assert packed.Unpack(detail)
        details[type(detail)] = detail
    info = details[error_details_pb2.ErrorInfo]
    assert info.domain == "homeroom"
    return raised.value.code(), info.reason


def fnv1a(data):
    """The 64-bit FNV-1a hash."""
    hash = 0xCBF29CE484222325
    for byte in data:
        hash = (hash ^ byte) * 0x100000001B3 % 2**64
    return hash


class View:
    """A watcher's view, kept as the contract says; every message has to have the hash of what it makes."""

    def __init__(self):
        self.instances = {}
        self.messages = 0

    def apply(self, message):
        self.messages += 1
        if message.reset:
            self.instances.clear()
        for key in message.removed:
            del self.instances[key.service, key.id]
        for instance in message.updated:
            self.instances[instance.service, instance.id] = instance
        assert message.more or message.view_hash == self.hash()
        self.position = {"revision": message.revision, "epoch": message.epoch}

    def hash(self):
        instances = self.instances.values()
        return sum(fnv1a(f"{each.service}\0{each.id}\0{each.revision}".encode()) for each in instances) % 2**64

    def ids(self):
        return sorted(id for _, id in self.instances)

    def until(self, stream, ids):
        """Applies messages until the view has these instances."""
        for message in stream:
            self.apply(message)
            if not message.more and self.ids() == sorted(ids):
                return
        pytest.fail(f"the watch ended with {self.ids()}")


def test_a_python_server_is_a_member_of_the_mesh(registry, service):
    server = PythonServer()
    view = View()
    try:
        with watch(registry, service) as stream:
            view.until(stream, [])
            health_check = registry_pb2.HealthCheck(interval=duration_pb2.Duration(seconds=1))
            answer = register(registry, service, server.address, health_check=health_check)
            assert answer.instance.health.state == registry_pb2.HEALTH_STATE_SERVING
            assert answer.instance.health.reason == registry_pb2.HEALTH_REASON_SERVING
            assert answer.instance.id == server.address, "the default id is the address"
            view.until(stream, [server.address])

            server.health.set("", NOT_SERVING)
            view.until(stream, [])
            assert reason(registry, service, server.address) == registry_pb2.HEALTH_REASON_NOT_SERVING
            server.health.set("", SERVING)
            view.until(stream, [server.address])

            server.stop()
            view.until(stream, [])
            assert reason(registry, service, server.address) == registry_pb2.HEALTH_REASON_REFUSED
    finally:
        server.stop()


def reason(registry, service, id):
    """Why an instance is in its state."""
    request = registry_pb2.GetInstanceRequest(service=service, id=id)
    return registry.GetInstance(request, timeout=PATIENCE).instance.health.reason


def test_an_older_incarnation_cannot_deregister(registry, service, python_server):
    older, newer = (register(registry, service, python_server.address).instance for _ in range(2))
    assert older.incarnation < newer.incarnation

    def deregister(incarnation):
        request = registry_pb2.DeregisterRequest(service=service, id=newer.id, incarnation=incarnation)
        return registry.Deregister(request, timeout=PATIENCE)

    refused = failure(lambda: deregister(older.incarnation))
    assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "SUPERSEDED")
    assert deregister(newer.incarnation).revision > newer.revision
    assert failure(lambda: deregister(newer.incarnation)) == (grpc.StatusCode.NOT_FOUND, "INSTANCE_NOT_FOUND")


def test_changes_are_streamed_once_and_resumed(registry, service, python_server):
    def changes(**position):
        request = registry_pb2.WatchChangesRequest(service=service, **position)
        return opened(registry.WatchChanges(request, timeout=PATIENCE))

    def take(stream, count):
        taken = []
        for message in stream:
            taken.extend((message, change) for change in message.changes)
            if len(taken) >= count:
                return taken
        pytest.fail(f"the stream ended with {len(taken)}")

    position = registry.GetStatus(registry_pb2.GetStatusRequest(), timeout=PATIENCE)
    position = {"revision": position.revision, "epoch": position.epoch}
    register(registry, service, python_server.address, id="one")
    with changes(**position) as stream:
        (first, registered), (_, recovered) = take(stream, 2)
    assert (registered.cause, recovered.cause) == (
        registry_pb2.CHANGE_CAUSE_REGISTERED,
        registry_pb2.CHANGE_CAUSE_RECOVERED,
    )
    assert first.epoch == position["epoch"] and not first.gap
    assert recovered.instance.health.state == registry_pb2.HEALTH_STATE_SERVING

    with changes(revision=registered.revision, epoch=first.epoch) as stream:
        ((message, again),) = take(stream, 1)
    assert again == recovered and not message.gap, "only what was missed"
    with changes(revision=recovered.revision, epoch=first.epoch + 1) as stream:
        told = take(stream, 2)
    assert told[0][0].gap, "another epoch starts over"
    assert [change for _, change in told] == [registered, recovered]


def test_a_lease_that_is_not_renewed_expires(registry, service):
    lease = registry_pb2.HealthCheck(
        mode=registry_pb2.HEALTH_CHECK_MODE_LEASE, ttl=duration_pb2.Duration(seconds=1)
    )
    view = View()
    with watch(registry, service) as stream:
        instance = register(registry, service, "127.0.0.1:1", id="one", health_check=lease).instance
        view.until(stream, ["one"])
        request = registry_pb2.RenewLeaseRequest(service=service, id="one", incarnation=instance.incarnation)
        assert registry.RenewLease(request, timeout=PATIENCE).ttl.seconds == 1
        view.until(stream, [])
    assert reason(registry, service, "one") == registry_pb2.HEALTH_REASON_LEASE_EXPIRED


def test_an_instance_that_is_too_large_names_its_limit(registry, service, python_server):
    metadata = {"key": "x" * 16384}
    refused = failure(lambda: register(registry, service, python_server.address, metadata=metadata))
    assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "INSTANCE_TOO_LARGE")


@contextlib.contextmanager
def without_health():
    server = PythonServer(has_health=False)
    try:
        yield server.address
    finally:
        server.stop()


@contextlib.contextmanager
def health_without_the_name():
    server = PythonServer()
    try:
        server.health.set("", health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        yield server.address
    finally:
        server.stop()


@contextlib.contextmanager
def nobody():
    # Bound, so that nobody else listens there, but not listening.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield "127.0.0.1:{}".format(bound.getsockname()[1])


@contextlib.contextmanager
def http1():
    """A web server: it answers, and hangs up."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "127.0.0.1:{}".format(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("peer", "state", "reason"),
    [
        (without_health, "HEALTH_STATE_NOT_SERVING", "HEALTH_REASON_NO_HEALTH_SERVICE"),
        (health_without_the_name, "HEALTH_STATE_NOT_SERVING", "HEALTH_REASON_HEALTH_NAME_UNKNOWN"),
        (nobody, "HEALTH_STATE_UNREACHABLE", "HEALTH_REASON_REFUSED"),
        (http1, "HEALTH_STATE_UNREACHABLE", "HEALTH_REASON_NOT_HTTP2"),
    ],
)
def test_a_registration_says_why_an_instance_is_not_serving(registry, service, peer, state, reason):
    with peer() as address:
        instance = register(registry, service, address).instance
        assert registry_pb2.HealthState.Name(instance.health.state) == state, instance.health.detail
        assert registry_pb2.HealthReason.Name(instance.health.reason) == reason, instance.health.detail
        assert instance.health.verified
        request = registry_pb2.DeregisterRequest(service=service, id=instance.id, incarnation=instance.incarnation)
        registry.Deregister(request, timeout=PATIENCE)


def test_every_message_of_a_watch_has_the_hash_of_its_view(registry, service, python_server):
    view = View()
    heartbeat = duration_pb2.Duration(nanos=100_000_000)
    with watch(registry, service, include_all_health=True, heartbeat_interval=heartbeat) as stream:
        for count in range(1, 9):
            register(registry, service, python_server.address, id=f"i{count}")
            view.until(stream, [f"i{n}" for n in range(1, count + 1)])
        python_server.health.set("", NOT_SERVING)
        while any(each.health.state != registry_pb2.HEALTH_STATE_NOT_SERVING for each in view.instances.values()):
            view.apply(next(stream))
        register(registry, service, python_server.address, id="i1", version="2")
        for id in ["i2", "i3"]:
            registry.Deregister(registry_pb2.DeregisterRequest(service=service, id=id), timeout=PATIENCE)
        view.until(stream, ["i1", "i4", "i5", "i6", "i7", "i8"])
        while view.instances[service, "i1"].version != "2":
            view.apply(next(stream))
        heartbeat = next(message for message in stream if not message.updated and not message.removed)
        view.apply(heartbeat)
    assert view.messages >= 8


def test_a_watch_that_is_resumed_gets_only_what_it_missed(registry, service, python_server):
    view = View()
    for id in ["left", "stays"]:
        register(registry, service, python_server.address, id=id)
    with watch(registry, service) as stream:
        view.until(stream, ["left", "stays"])
    registry.Deregister(registry_pb2.DeregisterRequest(service=service, id="left"), timeout=PATIENCE)
    register(registry, service, python_server.address, id="new")
    with watch(registry, service, **view.position) as stream:
        missed = next(stream)
    assert not missed.reset
    assert [instance.id for instance in missed.updated] == ["new"]
    assert [key.id for key in missed.removed] == ["left"]
    view.apply(missed)

    # Nothing was missed since; what belongs to another history is of no use.
    with watch(registry, service, **view.position) as stream:
        nothing = next(stream)
    assert not (nothing.reset or nothing.updated or nothing.removed)
    view.apply(nothing)
    with watch(registry, service, **view.position | {"epoch": view.position["epoch"] + 1}) as stream:
        snapshot = next(stream)
    assert snapshot.reset and len(snapshot.updated) == 2
    view.apply(snapshot)


def test_a_grade_with_a_request_id_is_added_once(grades):
    grade = grades_pb2.Grade(title="Interop", type=grades_pb2.GRADE_TYPE_TEST, score=64.5)
    request = grades_pb2.AddGradeRequest(student_id=3, grade=grade, request_id=str(uuid.uuid4()))
    first, again = (grades.AddGrade(request, timeout=PATIENCE).student for _ in range(2))
    assert first == again
    student = grades.GetStudent(grades_pb2.GetStudentRequest(id=3), timeout=PATIENCE).student
    assert student == first and list(student.grades).count(grade) == 1
    scores = [grade.score for grade in student.grades]
    assert student.HasField("average") and student.average == pytest.approx(sum(scores) / len(scores))
    request.grade.score = 65
    refused = failure(lambda: grades.AddGrade(request, timeout=PATIENCE))
    assert refused == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


def tail(log, **filter):
    """Follows new entries, from now on."""
    stream = log.Tail(log_pb2.TailRequest(filter=log_pb2.Filter(**filter)), timeout=PATIENCE)
    first = next(stream)
    assert not first.entries, "the first part only tells where it starts"
    return opened(stream)


def test_an_entry_comes_back_as_it_was_written(mesh, log, service):
    # What would break a line, colour a terminal, and turn text around.
    message = 'one\ntwo\r\n\x1b[31mred\x1b[0m\x00\x9b2J "quoted" \\ \u2028 \u202eback \U0001f600'
    entry = log_pb2.Entry(
        service=service,
        instance="i1",
        severity=log_pb2.SEVERITY_ERROR,
        message=message,
        attributes={"key\n": "value\x1b"},
        trace_id=uuid.uuid4().hex,
        span_id="00f067aa0ba902b7",
    )
    entry.time.FromNanoseconds(1_767_225_600_123_456_789)
    with tail(log, services=[service], text="red") as parts:
        with futures.ThreadPoolExecutor(1) as thread:
            found = thread.submit(lambda: next(entry for part in parts for entry in part.entries))
            other = log_pb2.Entry(service=service, message="not looked for")
            written = log.Write(log_pb2.WriteRequest(entries=[other, entry]), timeout=PATIENCE)
            found = found.result()
    entry.sequence = written.last_sequence
    assert found == entry

    (file,) = (mesh.data_dir / "log").glob("*.jsonl")
    lines = [line for line in file.read_bytes().split(b"\n") if service.encode() in line and b"red" in line]
    assert len(lines) == 1
    assert not any(byte < 0x20 or byte == 0x7F for byte in lines[0])
    line = json.loads(lines[0])
    assert (line["seq"], line["message"], line["severity"]) == (written.last_sequence, message, "ERROR")
    assert line["attributes"] == {"key\n": "value\x1b"}


def test_a_call_is_found_by_the_trace_of_its_caller(mesh, log, grades):
    trace_id, span_id = uuid.uuid4().hex, "00f067aa0ba902b7"
    grade = grades_pb2.Grade(title="Traced", type=grades_pb2.GRADE_TYPE_QUIZ, score=1)
    request = grades_pb2.AddGradeRequest(student_id=4, grade=grade)
    with tail(log, trace_id=trace_id) as parts:
        metadata = [("traceparent", f"00-{trace_id}-{span_id}-01")]
        grades.AddGrade(request, metadata=metadata, timeout=PATIENCE)
        entry = next(entry for part in parts for entry in part.entries if entry.message == "grade added")
    assert (entry.service, entry.instance) == ("grades", mesh.grades)
    assert (entry.attributes["student.id"], entry.attributes["grade.title"]) == ("4", "Traced")
    assert entry.span_id != span_id, "it is a span of its own"
    answer = log.GetTrace(log_pb2.GetTraceRequest(trace_id=trace_id), timeout=PATIENCE)
    assert entry in answer.entries and not answer.truncated
