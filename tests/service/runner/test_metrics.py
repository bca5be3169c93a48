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
