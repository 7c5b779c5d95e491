"""The metrics, as the parsers of Prometheus' own Python library read them."""

import http.client

import pytest
from conftest import PATIENCE
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics import parser as openmetrics_parser

SERVERS = ["registry", "log", "grades"]


def scrape(address, accept=None):
    """The media type and the text of the metrics."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, text
    return answer.headers["Content-Type"], text


def families(text):
    """Families by name; a counter's has no suffix here."""
    found = list(parser.text_string_to_metric_families(text))
    assert len({family.name for family in found}) == len(found), "each is there once"
    return {family.name: family for family in found}


def value(family, name, **labels):
    """The sum of the samples of this name with these labels."""
    return sum(s.value for s in family.samples if s.name == name and labels.items() <= s.labels.items())


@pytest.mark.parametrize("server", SERVERS)
def test_prometheus_reads_the_metrics(mesh, server):
    content_type, text = scrape(mesh.address(server))
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = families(text)
    assert all(family.type != "unknown" for family in found.values())
    assert found["grpc_server_handling_seconds"].type == "histogram"
    assert value(found["homeroom_build_info"], "homeroom_build_info") == 1
    assert value(found["process_resident_memory_bytes"], "process_resident_memory_bytes") > 0


@pytest.mark.parametrize("server", SERVERS)
def test_openmetrics_says_the_same(mesh, server):
    content_type, text = scrape(mesh.address(server), "application/openmetrics-text; version=1.0.0")
    assert content_type == openmetrics.exposition.CONTENT_TYPE_LATEST
    found = {family.name: family for family in openmetrics_parser.text_string_to_metric_families(text)}
    # What is info there is a gauge with a suffix here.
    plain = {name.removesuffix("_info") for name in families(scrape(mesh.address(server))[1])}
    assert set(found) == plain
    assert found["process_cpu_seconds"].unit == "seconds"


def test_calls_are_counted_on_the_port_that_they_came_to(mesh, channels):
    labels = {"grpc_service": "grpc.health.v1.Health", "grpc_method": "Check", "grpc_type": "unary", "grpc_code": "OK"}

    def handled():
        family = families(scrape(mesh.grades)[1])["grpc_server_handled"]
        return value(family, "grpc_server_handled_total", **labels)

    before = handled()
    health_pb2_grpc.HealthStub(channels["grades"]).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    # The registry may ask, too.
    assert handled() >= before + 1


def test_the_registry_tells_of_the_mesh(mesh):
    found = families(scrape(mesh.registry)[1])
    instances = found["homeroom_registry_instances"]
    # Other tests register more.
    assert value(instances, "homeroom_registry_instances", health="serving") >= 2
    assert value(found["homeroom_registry_services"], "homeroom_registry_services") >= 2
    assert value(found["homeroom_registry_watchers"], "homeroom_registry_watchers") >= 1


def test_a_browser_is_told_what_is_spoken(mesh):
    connection = http.client.HTTPConnection(mesh.registry, timeout=PATIENCE)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert (answer.status, "gRPC" in answer.read().decode()) == (404, True)
    connection.close()
