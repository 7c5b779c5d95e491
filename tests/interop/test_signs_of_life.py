"""Stock servers, and what the registry asks idle connections for: an empty SETTINGS, which they have to acknowledge."""

import os
import socket
import struct
import subprocess
from concurrent import futures

import grpc
import pytest
from conftest import PATIENCE
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from homeroom.registry.v1 import registry_pb2

# As many as the registry asks a connection for in hours.
SIGNS = 5000
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, ACK, END_HEADERS = 1, 1, 4


@pytest.fixture
def python_address():
    server = grpc.server(futures.ThreadPoolExecutor())
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield address
    server.stop(grace=None).wait(PATIENCE)


@pytest.fixture
def node_server():
    """A Node process, and where it listens."""
    if "NODE_SERVER" not in os.environ:
        pytest.skip("there is no Node")
    process = subprocess.Popen(["node", os.environ["NODE_SERVER"]], stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def node_address(node_server):
    return node_server[1]


def frame(kind, flags, stream, payload=b""):
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name, value):
    """A header field, without compression."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Probe:
    """A connection that has greeted, and asked for a watch, as the registry does."""

    def __init__(self, connection, address):
        self.connection = connection
        self.incoming = connection.makefile("rb")
        fields = {b":path": b"/grpc.health.v1.Health/Watch", b":authority": address.encode()}
        fields |= {b"content-type": b"application/grpc", b"te": b"trailers"}
        # POST, http.
        block = b"\x83\x86" + b"".join(field(*each) for each in fields.items())
        greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)
        watch = frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, bytes(5))
        connection.sendall(greeting + watch)

    def hears(self):
        """The next frame, but for what is to be answered: its kind, its flags and its payload."""
        while True:
            head = self.incoming.read(9)
            assert len(head) == 9, "it has not hung up"
            kind, flags = head[3:5]
            payload = self.incoming.read(int.from_bytes(head[:3], "big"))
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.connection.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
            else:
                return kind, flags, payload


@pytest.mark.parametrize("server", ["python", "node"])
def test_a_stock_server_acknowledges_thousands_of_signs_of_life(server, request):
    address = request.getfixturevalue(f"{server}_address")
    host, port = address.split(":")
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        probe = Probe(connection, address)
        # The first one is of the greeting.
        acknowledged, statuses = -1, []
        while acknowledged < SIGNS or not statuses:
            kind, flags, payload = probe.hears()
            assert kind not in (3, 7), f"it says RST_STREAM or GOAWAY after {acknowledged}: {payload}"
            if kind == DATA and payload:
                statuses.append(health_pb2.HealthCheckResponse.FromString(payload[5:]).status)
            if kind == SETTINGS and flags & ACK:
                acknowledged += 1
                connection.sendall(frame(SETTINGS, 0, 0))
    assert statuses == [health_pb2.HealthCheckResponse.SERVING]


def test_a_node_server_is_listed_until_it_is_killed(registry, service, node_server):
    process, address = node_server
    instance = registry_pb2.Instance(service=service, id="one", address=address)
    answer = registry.Register(registry_pb2.RegisterRequest(instance=instance, verify=True), timeout=PATIENCE)
    assert answer.instance.health.state == registry_pb2.HEALTH_STATE_SERVING
    watched = registry.WatchServices(registry_pb2.WatchServicesRequest(services=[service]), timeout=PATIENCE)
    assert [instance.id for instance in next(watched).updated] == ["one"]
    process.kill()
    gone = next(message for message in watched if message.removed)
    watched.cancel()
    assert [key.id for key in gone.removed] == ["one"]
