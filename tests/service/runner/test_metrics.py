"""Where a process serves its metrics."""

import socket
import urllib.request
from typing import Any

import pytest

from tests.service.prometheus_server import free_port
from watchmove.service.runner import metrics
from watchmove.service.runner.process_metrics import ProcessMetrics


def test_counters_and_no_others_end_in_total() -> None:
    """Of the metrics of a process, those declared with `_total` are counters, and the others gauges."""
    types = {family.name: family.type for family in ProcessMetrics().registry.collect()}
    declared = [one.name for one in vars(metrics).values() if isinstance(one, metrics.Declared)]
    counters = {name.removesuffix("_total") for name in declared if name.endswith("_total")}

    assert counters
    assert counters == {name for name, kind in types.items() if kind == "counter"}


def has(family: socket.AddressFamily, address: str) -> bool:
    """Whether this host can listen on an address of its own."""
    try:
        with socket.socket(family) as trial:
            trial.bind((address, 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("family", "address", "host"),
    [(socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "[::1]")],
    ids=["IPv4", "IPv6"],
)
def test_metrics_are_served_to_both_families(family: socket.AddressFamily, address: str, host: str) -> None:
    """Pods of a cluster can have addresses of IPv4, of IPv6, or of both."""
    if not has(family, address):
        pytest.skip(f"this host does not have the address {address}")
    port = free_port()
    metrics.serve(ProcessMetrics().registry, port)
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        served = answer.read()

    assert b"watchmove_process" in served


@pytest.mark.parametrize(("apart", "addresses"), [(0, ("::",)), (1, ("::", "0.0.0.0"))])
def test_ipv4_has_a_socket_of_its_own_where_ipv6_excludes_it(
    monkeypatch: pytest.MonkeyPatch, apart: int, addresses: tuple[str, ...]
) -> None:
    """A host whose sockets of IPv6 do not include IPv4 listens on both."""
    if not has(socket.AF_INET6, "::"):
        pytest.skip("this host has no sockets of IPv6")

    class Socket(socket.socket):
        """A socket of a host with or without `net.ipv6.bindv6only`."""

        def bind(self, address: Any) -> None:
            self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, apart)
            super().bind(address)

    monkeypatch.setattr("watchmove.service.runner.metrics.socket.socket", Socket)

    assert metrics._every_address() == addresses


def test_a_host_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no socket of IPv6 can be made, the metrics are served on the addresses of IPv4."""

    def refuse(*_: object) -> None:
        raise OSError("Address family not supported by protocol")

    monkeypatch.setattr("watchmove.service.runner.metrics.socket.socket", refuse)

    assert metrics._every_address() == ("0.0.0.0",)
