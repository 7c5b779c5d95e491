"""What the tests share: a running mesh, and how to talk to it."""

import os
import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

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


@pytest.fixture(scope="session")
def channels(mesh):
    """A channel to each server, by its name."""
    # A proxy of the environment is not meant for this machine.
    options = [("grpc.enable_http_proxy", 0)]
    opened = {name: grpc.insecure_channel(mesh.address(name), options) for name in ["registry", "log", "grades"]}
    yield opened
    for channel in opened.values():
        channel.close()
