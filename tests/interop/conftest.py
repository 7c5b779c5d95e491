"""What the tests share: a running mesh, and how to talk to it."""

import os
import re
import signal
import subprocess
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from homeroom.grades.v1 import grades_pb2_grpc
from homeroom.log.v1 import log_pb2_grpc
from homeroom.registry.v1 import registry_pb2_grpc

# How long a call, a stream or a process may take before a test fails: nothing here should need a tenth of it.
PATIENCE = 10
# How long the mesh may take to start, and to stop.
MESH_PATIENCE = 60


@dataclass(frozen=True)
class Mesh:
    """Where a running mesh is."""

    registry: str
    log: str
    grades: str
    data_dir: Path

    def address(self, server: str) -> str:
        """The address of the registry, of Log or of Grades."""
        return getattr(self, server)


def welcome(process: subprocess.Popen) -> str:
    """Reads what `homeroom up` says once all three are up; everything that it said, if it ends before."""
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("Ctrl-C"):
            break
    return text


@pytest.fixture(scope="session")
def mesh(tmp_path_factory) -> Mesh:
    """A mesh on free ports with a fresh data directory; after the tests SIGTERM has to end it with exit code 0."""
    data_dir = tmp_path_factory.mktemp("data")
    ports = [argument for name in ["registry", "log", "grades"] for argument in [f"--{name}-port", "0"]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOMEROOM_")}
    process = subprocess.Popen(
        [os.environ["HOMEROOM_BINARY"], "up", *ports, "--data-dir", data_dir],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    watchdog = threading.Timer(MESH_PATIENCE, process.kill)
    watchdog.start()
    text = welcome(process)
    watchdog.cancel()
    try:
        addresses = dict(re.findall(r"^  (registry|log|grades) +(\S+:[1-9]\d*)", text, re.MULTILINE))
        assert len(addresses) == 3, f"homeroom up did not say where it is, but: {text!r}"
        yield Mesh(data_dir=data_dir, **addresses)
        process.send_signal(signal.SIGTERM)
        assert process.wait(MESH_PATIENCE) == 0, "SIGTERM ends the mesh in good order"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def channel(address):
    """A channel to an address."""
    # A proxy of the environment is not meant for this machine.
    return grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)])


@pytest.fixture(scope="session")
def channels(mesh):
    """A channel to each server, by its name."""
    opened = {name: channel(mesh.address(name)) for name in ["registry", "log", "grades"]}
    yield opened
    for each in opened.values():
        each.close()


@pytest.fixture
def registry(channels):
    return registry_pb2_grpc.RegistryStub(channels["registry"])


@pytest.fixture
def log(channels):
    return log_pb2_grpc.LogStub(channels["log"])


@pytest.fixture
def grades(channels):
    return grades_pb2_grpc.GradesStub(channels["grades"])


@pytest.fixture
def service():
    """A name that nobody else uses."""
    return f"interop-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class LogServer:
    """A Log of a test's own."""

    channel: grpc.Channel
    stub: log_pb2_grpc.LogStub
    data_dir: Path


@contextmanager
def service_process(binary, *flags):
    """The address of a service that runs on a free port; it is killed at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOMEROOM_")}
    process = subprocess.Popen(
        [os.environ[binary], "--listen", "127.0.0.1:0", *flags], stderr=subprocess.PIPE, text=True, env=environment
    )
    watchdog = threading.Timer(MESH_PATIENCE, process.kill)
    watchdog.start()
    try:
        line = next(line for line in process.stderr if "listening on " in line)
        yield line.split("listening on ")[1].strip()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def start_log(tmp_path):
    """Starts a Log with these flags, with a fresh data directory and a registry of its own."""

    @contextmanager
    def start(*flags):
        with service_process("REGISTRY_BINARY", "--ephemeral") as registry:
            flags = ["--registry", registry, "--data-dir", tmp_path, *flags]
            with service_process("LOGSVC_BINARY", *flags) as address, channel(address) as opened:
                yield LogServer(opened, log_pb2_grpc.LogStub(opened), tmp_path)

    return start
