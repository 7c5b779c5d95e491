"""What people do with grpcurl, which knows nothing of our contracts but what reflection tells it: every RPC, once."""

import base64
import json
import os
import re
import subprocess
import uuid
from contextlib import contextmanager

import pytest
from conftest import PATIENCE

# What each server has of its own, first our own service, and what all of them have.
SERVERS = {
    "registry": ["homeroom.registry.v1.Registry"],
    "log": [
        "homeroom.log.v1.Log",
        "opentelemetry.proto.collector.logs.v1.LogsService",
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        "opentelemetry.proto.collector.trace.v1.TraceService",
    ],
    "grades": ["homeroom.grades.v1.Grades"],
}
COMMON = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]

# What grpcurl adds to a gRPC code to make its exit code.
EXIT_CODE_BASE = 64


def command(*arguments):
    """A command line of grpcurl."""
    patience = ["-max-time", str(PATIENCE), "-connect-timeout", str(PATIENCE)]
    return [os.environ["GRPCURL"], "-plaintext", "-format-error", *patience, *arguments]


def documents(lines):
    """The JSON objects of an output, as they come: each ends with a brace at the start of a line."""
    text = ""
    for line in lines:
        text += line
        if line.rstrip() in ("}", "{}"):
            yield json.loads(text)
            text = ""
    assert not text.strip(), f"this is no whole answer: {text}"


def run(*arguments, stdin=""):
    """What grpcurl writes when all goes well."""
    done = subprocess.run(command(*arguments), input=stdin, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Server:
    """A server, as grpcurl sees it."""

    def __init__(self, address):
        self.address = address

    def list(self):
        return run(self.address, "list").split()

    def describe(self, symbol):
        return run(self.address, "describe", symbol)

    def methods(self, service):
        """The names of a service's methods, as `describe` has them."""
        return re.findall(r"^\s*rpc (\w+) \(", self.describe(service), re.MULTILINE)

    def call(self, method, request=None, *requests):
        """The answer to a request; all answers, when there are several requests."""
        stdin = "\n".join(json.dumps(each) for each in (request or {}, *requests))
        answers = list(documents(run("-d", "@", self.address, method, stdin=stdin).splitlines(keepends=True)))
        if requests:
            return answers
        assert len(answers) == 1
        return answers[0]

    @contextmanager
    def stream(self, method, request):
        """The answers of a stream, as they come; it is cut off at the end."""
        arguments = command("-d", json.dumps(request), self.address, method)
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                yield documents(process.stdout)
            finally:
                process.kill()

    def refusal(self, method, request):
        """The gRPC code of a call that fails, and its details by their types."""
        arguments = command("-d", json.dumps(request), self.address, method)
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=2 * PATIENCE)
        assert done.returncode > EXIT_CODE_BASE, f"it did not fail as a call: {done.stdout}{done.stderr}"
        status = json.loads(done.stderr)
        assert status["code"] == done.returncode - EXIT_CODE_BASE
        details = {detail["@type"].removeprefix("type.googleapis.com/"): detail for detail in status["details"]}
        assert details["google.rpc.ErrorInfo"]["domain"] == "homeroom"
        return status["code"], details


@pytest.fixture(params=SERVERS)
def name(request):
    """Each server in turn."""
    return request.param


@pytest.fixture
def server(mesh, name):
    return Server(mesh.address(name))


def unique():
    """A name that nobody else uses."""
    return f"interop-{uuid.uuid4().hex}"


def register(mesh, service, **more):
    """Registers Log's address as a service, and gets the answer once the first probe has ended."""
    instance = {"service": service, "address": mesh.log, **more}
    return Server(mesh.registry).call("homeroom.registry.v1.Registry/Register", {"instance": instance, "verify": True})


# The calls: each function is given the mesh, the server to call, and the method, and checks what comes back.


def call_register(mesh, server, method):
    service = unique()
    instance = {
        "service": service,
        "id": "one",
        "address": mesh.log,
        "weight": 7,
        "metadata": {"colour": "green"},
        "requiredServices": ["grades"],
    }
    answer = server.call(method, {"instance": instance, "verify": True})
    assert {key: answer["instance"][key] for key in instance} == instance
    health = answer["instance"]["health"]
    assert (health["state"], health["reason"]) == ("HEALTH_STATE_SERVING", "HEALTH_REASON_SERVING")
    assert [instance["address"] for instance in answer["requiredInstances"]] == [mesh.grades]
    assert int(answer["revision"]) >= int(answer["instance"]["revision"]) > 0


def call_deregister(mesh, server, method):
    service = unique()
    registered = register(mesh, service, id="one")
    incarnation = registered["instance"]["incarnation"]
    answer = server.call(method, {"service": service, "id": "one", "incarnation": incarnation})
    assert int(answer["revision"]) > int(registered["revision"])
    code, details = server.refusal(method, {"service": service, "id": "one"})
    assert (code, details["google.rpc.ErrorInfo"]["reason"]) == (5, "INSTANCE_NOT_FOUND")
    assert details["google.rpc.ResourceInfo"]["resourceType"] == "instance"


def call_get_instance(mesh, server, method):
    instance = server.call(method, {"service": "grades", "id": mesh.grades})["instance"]
    assert (instance["service"], instance["address"]) == ("grades", mesh.grades)
    assert instance["requiredServices"] == ["log"]
    assert instance["health"]["state"] == "HEALTH_STATE_SERVING"


def call_list_services(mesh, server, method):
    services = {summary["service"]: summary for summary in server.call(method, {"pageSize": 1000})["services"]}
    assert services["grades"] == {
        "service": "grades",
        "instances": 1,
        "servingInstances": 1,
        "requiredServices": ["log"],
    }
    assert services["log"] == {"service": "log", "instances": 1, "servingInstances": 1}


def call_list_instances(mesh, server, method):
    service = unique()
    for id in ["one", "two"]:
        register(mesh, service, id=id)
    request = {"service": service, "pageSize": 1}
    first = server.call(method, request)
    second = server.call(method, request | {"pageToken": first["nextPageToken"]})
    assert [instance["id"] for page in (first, second) for instance in page["instances"]] == ["one", "two"]
    assert "nextPageToken" not in second


def call_watch_services(mesh, server, method):
    with server.stream(method, {"services": ["log"]}) as messages:
        first = next(messages)
    assert first["reset"] is True
    assert [instance["address"] for instance in first["updated"]] == [mesh.log]
    assert int(first["revision"]) > 0 and int(first["epoch"]) > 0


def call_acknowledge_revision(mesh, server, method):
    with server.stream("homeroom.registry.v1.Registry/WatchServices", {"services": ["log"]}) as messages:
        first = next(messages)
        assert server.call(method, {"watchId": first["watchId"], "revision": first["revision"]}) == {}
    code, details = server.refusal(method, {"watchId": str(2**63), "revision": 1})
    assert (code, details["google.rpc.ErrorInfo"]["reason"]) == (5, "WATCH_NOT_FOUND")


def call_list_changes(mesh, server, method):
    service = unique()
    register(mesh, service, id="one")
    changes = server.call(method, {"service": service, "id": "one"})["changes"]
    assert [change["cause"] for change in changes] == ["CHANGE_CAUSE_RECOVERED", "CHANGE_CAUSE_REGISTERED"]
    recovered, registered = changes
    assert int(recovered["revision"]) > int(registered["revision"])
    assert recovered["actor"] == "registry" and registered["actor"].startswith("127.0.0.1:")
    assert recovered["instance"]["health"]["state"] == "HEALTH_STATE_SERVING"


def call_watch_changes(mesh, server, method):
    service = unique()
    before = server.call("homeroom.registry.v1.Registry/GetStatus")
    register(mesh, service, id="one")
    request = {"service": service, "revision": before["revision"], "epoch": before["epoch"]}
    with server.stream(method, request) as messages:
        first = next(messages)
        server.call("homeroom.registry.v1.Registry/Deregister", {"service": service, "id": "one"})
        second = next(messages)
    causes = ["CHANGE_CAUSE_REGISTERED", "CHANGE_CAUSE_RECOVERED"]
    assert [change["cause"] for change in first["changes"]] == causes
    assert first["epoch"] == before["epoch"] and "gap" not in first
    (removal,) = second["changes"]
    assert (removal["cause"], removal["id"]) == ("CHANGE_CAUSE_DEREGISTERED", "one")
    assert "instance" not in removal and removal["actor"].startswith("127.0.0.1:")


def call_get_status(mesh, server, method):
    service = unique()
    answer = register(mesh, service, id="one")
    with server.stream("homeroom.registry.v1.Registry/WatchServices", {"services": [service]}) as messages:
        next(messages)
        status = server.call(method)
    assert re.fullmatch(r"\d+\.\d+\.\d+", status["version"])
    assert int(status["revision"]) >= int(answer["revision"]) and status["epoch"] == answer["epoch"]
    assert status["startTime"] < status["serverTime"]
    # Grades and Log, who acknowledge, and this one, which doesn't.
    assert status["services"] >= 3 and status["watchers"] > status["acknowledgingWatchers"] > 0
    counts = {count["state"]: count.get("instances", 0) for count in status["instances"]}
    assert counts["HEALTH_STATE_SERVING"] >= 3 and len(counts) == 5
    assert "engaged" not in status["brake"]
    assert status["store"]["state"] in ["STORE_STATE_EPHEMERAL", "STORE_STATE_SYNCED"]


def call_renew_lease(mesh, server, method):
    service = unique()
    lease = {"mode": "HEALTH_CHECK_MODE_LEASE", "ttl": "30s"}
    registered = register(mesh, service, id="one", healthCheck=lease)["instance"]
    health = registered["health"]
    assert (health["state"], health["reason"]) == ("HEALTH_STATE_SERVING", "HEALTH_REASON_LEASE_HELD")
    request = {"service": service, "id": "one", "incarnation": registered["incarnation"]}
    assert server.call(method, request) == {"ttl": "30s"}
    code, details = server.refusal(method, request | {"incarnation": "1"})
    assert (code, details["google.rpc.ErrorInfo"]["reason"]) == (9, "SUPERSEDED")
    code, details = server.refusal(method, {"service": "log", "id": mesh.log})
    assert (code, details["google.rpc.ErrorInfo"]["reason"]) == (9, "NOT_LEASED")


def write(mesh, *messages, **more):
    """Writes entries, and gets the sequence number of the last one."""
    entries = [{"message": message, **more} for message in messages]
    answer = Server(mesh.log).call("homeroom.log.v1.Log/Write", {"entries": entries})
    return int(answer["lastSequence"])


def call_write(mesh, server, method):
    assert write(mesh, "one", "two") > write(mesh, "zero") - 2 > 0
    code, details = server.refusal(method, {"entries": [{"message": "one"}, {"message": ""}]})
    violation = details["google.rpc.BadRequest"]["fieldViolations"][0]
    assert (code, violation["field"]) == (3, "entries[1].message")


def call_ingest(mesh, server, method):
    service = unique()
    batch = lambda number, *texts: {  # noqa: E731
        "batch": number,
        "entries": [{"service": service, "message": text} for text in texts],
    }
    answers = server.call(method, batch(1, "one", "two"), batch(2, "three"))
    assert answers[-1]["batch"] == "2"
    found = server.call("homeroom.log.v1.Log/Query", {"filter": {"services": [service]}})["entries"]
    assert [entry["message"] for entry in found] == ["one", "two", "three"]
    assert found[-1]["sequence"] == answers[-1]["lastSequence"]

    # A writer that comes back asks what was written, and what it sends again is not written again.
    writer = {"writer": service}
    server.call(method, batch(1, "four") | writer, batch(2, "five"))
    answers = server.call(method, writer, batch(2, "five"), batch(3, "six"))
    assert answers[0]["batch"] == "2" and answers[-1]["batch"] == "3"
    found = server.call("homeroom.log.v1.Log/Query", {"filter": {"services": [service]}})["entries"]
    assert [entry["message"] for entry in found] == ["one", "two", "three", "four", "five", "six"]


def call_query(mesh, server, method):
    service = unique()
    write(mesh, "the first", "the second", "another", service=service, severity="SEVERITY_WARN")
    chosen = {"services": [service, "none"], "text": "the ", "minSeverity": "SEVERITY_WARN"}
    entries = server.call(method, {"filter": chosen, "order": "ORDER_NEWEST_FIRST"})["entries"]
    assert [entry["message"] for entry in entries] == ["the second", "the first"]
    assert {entry["severity"] for entry in entries} == {"SEVERITY_WARN"}
    assert server.call(method, {"filter": chosen | {"minSeverity": "SEVERITY_ERROR"}}) == {}


def call_tail(mesh, server, method):
    service = unique()
    before = write(mesh, "before", service=service)
    with server.stream(method, {"filter": {"services": [service]}, "afterSequence": before}) as parts:
        assert next(parts) == {"sequence": str(before)}
        sequence = write(mesh, "after", service=service)
        entry = next(entry for part in parts for entry in part.get("entries", []))
    assert (entry["message"], entry["sequence"]) == ("after", str(sequence))


def call_get_trace(mesh, server, method):
    trace = uuid.uuid4().hex
    write(mesh, "later", traceId=trace, spanId="00f067aa0ba902b7", time="2026-01-01T00:00:02Z")
    write(mesh, "sooner", traceId=trace, time="2026-01-01T00:00:01Z")
    answer = server.call(method, {"traceId": trace})
    assert [entry["message"] for entry in answer["entries"]] == ["sooner", "later"]
    assert answer["entries"][1]["spanId"] == "00f067aa0ba902b7"
    assert "truncated" not in answer
    code, details = server.refusal(method, {"traceId": uuid.uuid4().hex})
    assert (code, details["google.rpc.ErrorInfo"]["reason"]) == (5, "TRACE_NOT_FOUND")


def span(service, name, milliseconds, **more):
    """A span in a trace of its own."""
    times = {"time": "2026-01-01T00:00:00Z", "spanId": "00f067aa0ba902b7"}
    ended = {"endTime": f"2026-01-01T00:00:00.{milliseconds:03}Z"}
    return {"service": service, "message": name, "traceId": uuid.uuid4().hex, "span": ended | more, **times}


def call_list_traces(mesh, server, method):
    service = unique()
    slow = span(service, "slow", 750)
    failed = span(service, "failed", 5, status="SPAN_STATUS_ERROR")
    server.call("homeroom.log.v1.Log/Write", {"entries": [slow, failed]})
    traces = server.call(method, {"services": [service]})["traces"]
    assert [(trace["name"], trace["traceId"]) for trace in traces] == [
        ("failed", failed["traceId"]),
        ("slow", slow["traceId"]),
    ]
    assert (traces[1]["duration"], traces[1]["spans"], traces[1]["services"]) == ("0.750s", 1, [service])
    for chosen, expected in [
        ({"errorsOnly": True}, "failed"),
        ({"minDuration": "0.7s"}, "slow"),
        ({"name": "slow"}, "slow"),
    ]:
        (trace,) = server.call(method, {"services": [service], **chosen})["traces"]
        assert trace["name"] == expected


def call_log_get_status(mesh, server, method):
    before = write(mesh, "one")
    status = server.call(method)
    assert re.fullmatch(r"\d+\.\d+\.\d+", status["version"])
    assert status["startTime"] < status["serverTime"]
    assert int(status["lastSequence"]) >= before and status["firstSequence"] == "1"
    assert status["store"]["state"] == "STORE_STATE_OK" and status["store"]["segments"] >= 1
    assert int(status["store"]["sizeBytes"]) > 0 and int(status["store"]["freeBytes"]) > 0
    assert status["retention"]["sizeMaxBytes"] == "10737418240" and "forward" not in status


def of_resource(service, scopes, items, item):
    """What OpenTelemetry ships of a process."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return [{"resource": resource, scopes: [{items: [item]}]}]


def identifier(hexadecimal):
    """An id as protobuf's JSON has bytes."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def call_export_logs(mesh, server, method):
    service, trace = unique(), uuid.uuid4().hex
    record = {
        "timeUnixNano": "1767225600000000001",
        "severityNumber": "SEVERITY_NUMBER_WARN",
        "body": {"stringValue": "shipped"},
        "attributes": [{"key": "answer", "value": {"intValue": "42"}}],
        "traceId": identifier(trace),
    }
    answer = server.call(method, {"resourceLogs": of_resource(service, "scopeLogs", "logRecords", record)})
    assert not answer.get("partialSuccess")
    (entry,) = server.call("homeroom.log.v1.Log/GetTrace", {"traceId": trace})["entries"]
    assert (entry["service"], entry["message"], entry["severity"]) == (service, "shipped", "SEVERITY_WARN")
    assert (entry["time"], entry["attributes"]) == ("2026-01-01T00:00:00.000000001Z", {"answer": "42"})


def call_export_spans(mesh, server, method):
    service, trace = unique(), uuid.uuid4().hex
    shipped = {
        "traceId": identifier(trace),
        "spanId": identifier("00f067aa0ba902b7"),
        "parentSpanId": identifier("00f067aa0ba902b8"),
        "name": "work",
        "kind": "SPAN_KIND_CONSUMER",
        "startTimeUnixNano": "1767225600000000000",
        "endTimeUnixNano": "1767225601000000000",
    }
    server.call(method, {"resourceSpans": of_resource(service, "scopeSpans", "spans", shipped)})
    answer = server.call("homeroom.log.v1.Log/GetTrace", {"traceId": trace})
    (found,) = answer["spans"]
    assert found["isOrphan"] and answer["missingSpanIds"] == ["00f067aa0ba902b8"]
    assert (found["entry"]["service"], found["entry"]["message"]) == (service, "work")
    assert found["entry"]["span"]["kind"] == "SPAN_KIND_CONSUMER"
    assert found["entry"]["span"]["endTime"] == "2026-01-01T00:00:01Z"


def call_export_metrics(mesh, server, method):
    point = {"timeUnixNano": "1767225600000000000", "asInt": "1"}
    metric = {"name": "orders", "gauge": {"dataPoints": [point]}}
    answer = server.call(method, {"resourceMetrics": of_resource(unique(), "scopeMetrics", "metrics", metric)})
    assert answer["partialSuccess"]["rejectedDataPoints"] == "1" and answer["partialSuccess"]["errorMessage"]


def call_list_students(mesh, server, method):
    first = server.call(method, {"pageSize": 2})
    rest = server.call(method, {"pageToken": first["nextPageToken"]})
    names = [student["firstName"] for page in (first, rest) for student in page["students"]]
    assert names == ["Averill", "Marge", "Sydnie", "Louie", "Kylee"]


def call_get_student(mesh, server, method):
    student = server.call(method, {"id": 1})["student"]
    assert (student["id"], student["firstName"], student["lastName"]) == (1, "Averill", "Simen")
    assert student["grades"][0] == {"title": "Quiz 1", "type": "GRADE_TYPE_QUIZ", "score": 85}
    scores = [grade["score"] for grade in student["grades"]]
    assert student["average"] == pytest.approx(sum(scores) / len(scores))
    code, details = server.refusal(method, {"id": 99})
    assert (code, details["google.rpc.ErrorInfo"]["reason"]) == (5, "STUDENT_NOT_FOUND")


def call_add_grade(mesh, server, method):
    before = server.call("homeroom.grades.v1.Grades/GetStudent", {"id": 2})["student"]
    grade = {"title": "Übung ✓", "type": "GRADE_TYPE_HOMEWORK", "score": 0}
    after = server.call(method, {"studentId": 2, "grade": grade})["student"]
    assert after["grades"] == [*before["grades"], grade]


def call_check(mesh, server, method):
    for name in ["", next(name for name in server.list() if name.startswith("homeroom."))]:
        assert server.call(method, {"service": name}) == {"status": "SERVING"}
    code, details = server.refusal(method, {"service": "nobody"})
    assert (code, details["google.rpc.ErrorInfo"]["reason"]) == (5, "SERVICE_NOT_FOUND")


def call_list(mesh, server, method):
    statuses = server.call(method)["statuses"]
    assert statuses.pop("") == {"status": "SERVING"}
    assert statuses == {name: {"status": "SERVING"} for name in server.list() if name not in COMMON}


def call_watch(mesh, server, method):
    for name, status in [("", "SERVING"), ("nobody", "SERVICE_UNKNOWN")]:
        with server.stream(method, {"service": name}) as messages:
            assert next(messages) == {"status": status}


def call_reflection(mesh, server, method):
    symbol = method.split("/")[0]
    names, files = server.call(method, {"listServices": ""}, {"fileContainingSymbol": symbol})
    names = [service["name"] for service in names["listServicesResponse"]["service"]]
    assert sorted(names) == sorted(server.list())
    (file,) = files["fileDescriptorResponse"]["fileDescriptorProto"]
    assert b"ServerReflectionInfo" in base64.b64decode(file)


CALLS = {
    "homeroom.registry.v1.Registry/Register": call_register,
    "homeroom.registry.v1.Registry/RenewLease": call_renew_lease,
    "homeroom.registry.v1.Registry/Deregister": call_deregister,
    "homeroom.registry.v1.Registry/GetInstance": call_get_instance,
    "homeroom.registry.v1.Registry/ListServices": call_list_services,
    "homeroom.registry.v1.Registry/ListInstances": call_list_instances,
    "homeroom.registry.v1.Registry/WatchServices": call_watch_services,
    "homeroom.registry.v1.Registry/AcknowledgeRevision": call_acknowledge_revision,
    "homeroom.registry.v1.Registry/ListChanges": call_list_changes,
    "homeroom.registry.v1.Registry/WatchChanges": call_watch_changes,
    "homeroom.registry.v1.Registry/GetStatus": call_get_status,
    "homeroom.log.v1.Log/Write": call_write,
    "homeroom.log.v1.Log/Ingest": call_ingest,
    "homeroom.log.v1.Log/Query": call_query,
    "homeroom.log.v1.Log/Tail": call_tail,
    "homeroom.log.v1.Log/GetTrace": call_get_trace,
    "homeroom.log.v1.Log/ListTraces": call_list_traces,
    "homeroom.log.v1.Log/GetStatus": call_log_get_status,
    "opentelemetry.proto.collector.logs.v1.LogsService/Export": call_export_logs,
    "opentelemetry.proto.collector.trace.v1.TraceService/Export": call_export_spans,
    "opentelemetry.proto.collector.metrics.v1.MetricsService/Export": call_export_metrics,
    "homeroom.grades.v1.Grades/ListStudents": call_list_students,
    "homeroom.grades.v1.Grades/GetStudent": call_get_student,
    "homeroom.grades.v1.Grades/AddGrade": call_add_grade,
    "grpc.health.v1.Health/Check": call_check,
    "grpc.health.v1.Health/List": call_list,
    "grpc.health.v1.Health/Watch": call_watch,
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": call_reflection,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": call_reflection,
}


def calls(name):
    """The calls of a server: its own, and those that all have."""
    services = [*SERVERS[name], *COMMON]
    return {method: check for method, check in CALLS.items() if method.split("/")[0] in services}


def test_list_shows_what_a_server_serves_and_nothing_else(server, name):
    assert sorted(server.list()) == sorted([*SERVERS[name], *COMMON])


def test_describe_knows_every_service_and_method(server):
    for service in server.list():
        assert server.describe(service).startswith(f"{service} is a service:\n")
        for method in server.methods(service):
            text = server.describe(f"{service}.{method}")
            assert text.startswith(f"{service}.{method} is a method:\n")


def test_describe_knows_the_details_of_errors(server):
    for detail in ["ErrorInfo", "BadRequest", "ResourceInfo", "QuotaFailure", "RetryInfo"]:
        assert server.describe(f"google.rpc.{detail}").startswith(f"google.rpc.{detail} is a message:\n")


def test_every_rpc_that_is_described_is_called(server, name):
    described = {f"{service}/{method}" for service in server.list() for method in server.methods(service)}
    assert set(calls(name)) == described


@pytest.mark.parametrize(("name", "method"), [(name, method) for name in SERVERS for method in calls(name)])
def test_an_rpc_can_be_called_by_reflection(mesh, server, method):
    CALLS[method](mesh, server, method)


@pytest.mark.parametrize(
    ("name", "method", "request_", "field"),
    [
        ("registry", "Register", {"instance": {"service": "Not a name"}}, "instance.service"),
        ("registry", "WatchServices", {"services": ["log", "Not a name"]}, "services[1]"),
        ("registry", "WatchChanges", {"id": "one"}, "id"),
        ("log", "GetTrace", {"traceId": "XYZ"}, "trace_id"),
        ("log", "ListTraces", {"services": ["x" * 254]}, "services[0]"),
        ("log", "Tail", {"filter": {"traceId": "XYZ"}}, "filter.trace_id"),
        ("log", "Query", {"filter": {"services": ["log", "x" * 254]}}, "filter.services[1]"),
        ("grades", "AddGrade", {"studentId": 1, "grade": {"title": "t", "type": 1, "score": 101}}, "grade.score"),
    ],
)
def test_a_bad_request_names_its_field(server, name, method, request_, field):
    code, details = server.refusal(f"{SERVERS[name][0]}/{method}", request_)
    assert code == 3
    info = details["google.rpc.ErrorInfo"]
    assert (info["reason"], info["metadata"]["field"]) == ("INVALID_FIELD", field)
    (violation,) = details["google.rpc.BadRequest"]["fieldViolations"]
    assert (violation["field"], violation["description"]) == (field, info["metadata"]["allowed"])
