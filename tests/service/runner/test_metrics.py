"""Where a process serves its metrics."""

import socket
import urllib.request

import pytest

from watchmove.service.runner import metrics


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def test_counters_and_no_others_end_in_total() -> None:
    """Of the metrics of a process, those declared with `_total` are counters, and the others gauges."""
    types = {family.name: family.type for family in metrics.ProcessMetrics().registry.collect()}
    declared = [one.name for one in vars(metrics).values() if isinstance(one, metrics.Declared)]
    counters = {name.removesuffix("_total") for name in declared if name.endswith("_total")}

    assert counters
    assert counters == {name for name, kind in types.items() if kind == "counter"}


def test_metrics_are_served_to_both_families_of_addresses() -> None:
    """Pods of a cluster can have addresses of IPv4, of IPv6, or of both."""
    port = free_port()
    process = metrics.ProcessMetrics()
    metrics.serve(process.registry, port)
    hosts = ["127.0.0.1", *(["[::1]"] if metrics._every_address() == "::" else [])]
    for host in hosts:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
            assert b"watchmove_process" in answer.read()


def test_a_host_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no socket of IPv6 can be made, the metrics are served on the addresses of IPv4."""

    def refuse(*_: object) -> None:
        raise OSError("Address family not supported by protocol")

    monkeypatch.setattr("watchmove.service.runner.metrics.socket.socket", refuse)

    assert metrics._every_address() == "0.0.0.0"
