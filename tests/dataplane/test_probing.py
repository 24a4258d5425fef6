"""Which source address probes leave with."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from dataplane.desired import Path, Probe
from dataplane.ports import ProbeRoute
from dataplane.probing import probe_routes
from tests.dataplane.network import ETH0, ETH1, mac_of

NETWORKS = (ip_network("198.18.0.0/15"), ip_network("2001:2:0:1::/112"))


def probe(address: str, vip: str, server: str, ifindex: int = 2, reason: str = "") -> Probe:
    mac = mac_of(ip_address(server))
    return Probe(ip_address(address), ip_address(vip), ip_address(server), Path(ifindex, mac, ETH0.mac, reason))


def test_one_route_serves_a_network_whose_probes_share_an_interface() -> None:
    probes = [probe("198.18.0.1", "10.77.0.10", "10.77.0.21"), probe("198.18.0.2", "10.77.0.10", "10.77.0.22")]
    assert probe_routes(probes, [ETH0, ETH1], NETWORKS) == (ProbeRoute("198.18.0.0/15", ip_address("10.77.0.1")),)


def test_a_server_on_another_interface_gets_a_route_of_its_own() -> None:
    probes = [
        probe("198.18.0.1", "10.77.0.10", "10.77.0.21"),
        probe("198.18.0.2", "10.77.0.10", "10.77.0.22"),
        probe("198.18.0.3", "10.77.0.10", "10.78.0.21", ifindex=3),
    ]
    assert probe_routes(probes, [ETH0, ETH1], NETWORKS) == (
        ProbeRoute("198.18.0.0/15", ip_address("10.77.0.1")),
        ProbeRoute("198.18.0.3/32", ip_address("10.78.0.1")),
    )


def test_an_ipv6_vip_on_a_server_known_by_ipv4_is_probed_from_an_ipv6_address() -> None:
    probes = [probe("2001:2:0:1::1", "fd77::10", "10.77.0.21")]
    assert probe_routes(probes, [ETH0], NETWORKS) == (ProbeRoute("2001:2:0:1::/112", ip_address("fd77::1")),)


def test_no_route_without_a_server_that_can_be_reached() -> None:
    probes = [probe("198.18.0.1", "10.77.0.10", "10.77.0.21", reason="not known yet")]
    assert probe_routes(probes, [ETH0], NETWORKS) == ()
    assert probe_routes([], [ETH0], NETWORKS) == ()
