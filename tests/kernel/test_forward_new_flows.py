"""Flows that began, counted for the vserver and for the service that got them, by both programs."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane.kernel import loader
from dataplane.kernel.maps import KernelMaps
from dataplane.steps import Table
from dataplane.tables import MAX_SERVICES, NO_VSERVER_FLAGS, Reason, ServiceEntry, VServerFlag, VServerKey
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, Outcome, service_mac, whole_ring
from tests.kernel.test_forward_xdp import TwoStages, stages  # noqa: F401 - a fixture, asked for by name

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
CLIENTS = {4: "192.0.2.1", 6: "2001:db8::1"}
VIPS = {4: "203.0.113.80", 6: "2001:db8:80::80"}
FIN, SYN, RST, ACK = 1, 2, 4, 16
SESSIONS, ROTATE, PERSIST = VServerFlag.SESSIONS, VServerFlag.ROTATE, VServerFlag.PERSIST

Send = Callable[[bytes], Outcome]


@pytest.fixture(params=["tc", "xdp"])
def send(request: pytest.FixtureRequest, bench: Bench) -> Send:
    """Sends a frame by hp_ingress alone, or by hp_xdp with it behind."""
    if request.param == "tc":
        return bench.send
    two: TwoStages = request.getfixturevalue("stages")
    return two.send


def ip(version: int, protocol: int, segment: bytes) -> bytes:
    source, vip = CLIENTS[version], VIPS[version]
    packet = p.ipv4(source, vip, protocol, segment) if version == 4 else p.ipv6(source, vip, protocol, segment)
    return p.ethernet(OWN_MAC, MAC, p.IPV4 if version == 4 else p.IPV6, packet)


def tcp(version: int, flags: int, port: int = 40000) -> bytes:
    return ip(version, p.TCP, p.tcp(CLIENTS[version], VIPS[version], (port, 80), b"data", flags=flags))


def udp(version: int, port: int = 40000) -> bytes:
    return ip(version, p.UDP, p.udp(CLIENTS[version], VIPS[version], (port, 80), b"data"))


def serve(bench: Bench, version: int, flags: VServerFlag = NO_VSERVER_FLAGS, service: int = 1) -> None:
    bench.add_vserver(VServerKey(ip_address(VIPS[version]), 0, 80), 1, whole_ring(service), flags=flags)


def begun(bench: Bench) -> tuple[int, dict[int, int]]:
    """Of vserver 1, and of the services that have some."""
    found = bench.maps.counters()
    return found.vserver_flows[1], {number: flows for number, flows in found.service_flows.items() if flows}


def sent(send: Send, *frames: bytes) -> None:
    for frame in frames:
        assert send(frame).reason is Reason.FORWARDED


@pytest.mark.parametrize("version", [4, 6])
def test_without_sessions_each_syn_is_a_new_flow_and_no_other_packet_is(bench: Bench, send: Send, version: int) -> None:
    serve(bench, version)
    # The second time around the vserver is remembered, and IPv4 takes the short way
    for _ in range(2):
        sent(send, tcp(version, SYN), tcp(version, ACK), tcp(version, SYN | ACK), tcp(version, FIN | ACK))
        sent(send, tcp(version, RST), udp(version))
    assert begun(bench) == (2, {1: 2})
    bench.put(Table.RINGS, 1, whole_ring(2))
    sent(send, tcp(version, SYN, port=40001))
    assert begun(bench) == (3, {1: 2, 2: 1})


@pytest.mark.parametrize("version", [4, 6])
def test_with_sessions_a_flow_counts_once_whatever_began_it(bench: Bench, send: Send, version: int) -> None:
    serve(bench, version, SESSIONS)
    sent(send, *[tcp(version, flags) for flags in (SYN, SYN, ACK, ACK, ACK)])
    assert begun(bench) == (1, {1: 1})
    sent(send, *[udp(version)] * 4)
    assert begun(bench) == (2, {1: 2})
    sent(send, *[tcp(version, ACK, port=40001)] * 3)  # its beginning was not seen
    assert begun(bench) == (3, {1: 3})
    sent(send, tcp(version, FIN | ACK), tcp(version, ACK))
    assert begun(bench) == (3, {1: 3})
    sent(send, tcp(version, SYN))  # a new connection by the same ports
    assert begun(bench) == (4, {1: 4})


@pytest.mark.parametrize("flags", [ROTATE, PERSIST, ROTATE | PERSIST], ids=repr)
def test_persistence_and_rotation_alone_remember_no_flow(bench: Bench, send: Send, flags: VServerFlag) -> None:
    serve(bench, 4, flags)
    sent(send, tcp(4, SYN), tcp(4, ACK), udp(4), udp(4), tcp(4, SYN, port=40001))
    assert begun(bench) == (2, {1: 2})


def test_what_is_dropped_began_nothing(bench: Bench, send: Send) -> None:
    serve(bench, 4)
    bench.put(Table.SERVICES, 1, ServiceEntry(1, 1, MAC, EGRESS_MAC))  # it would go back to whom it came from
    for _ in range(2):
        assert send(tcp(4, SYN)).reason is Reason.DROP_LOOP
    bench.put(Table.RINGS, 1, whole_ring(0))
    assert send(tcp(4, SYN)).reason is Reason.DROP_NO_SERVICE
    assert begun(bench) == (0, {})


@pytest.mark.parametrize("flags", [NO_VSERVER_FLAGS, SESSIONS], ids=repr)
def test_an_icmp_error_about_a_connection_begins_none(bench: Bench, send: Send, flags: VServerFlag) -> None:
    serve(bench, 4, flags)
    quoted = p.ipv4(VIPS[4], CLIENTS[4], p.TCP, p.tcp(VIPS[4], CLIENTS[4], (80, 40000), flags=SYN))
    sent(send, ip(4, p.ICMP, p.icmp(3, bytes(4) + quoted)))
    assert begun(bench) == (0, {})


def test_options_before_the_ports_hide_no_syn(bench: Bench, send: Send) -> None:
    serve(bench, 6)
    segment = p.tcp(CLIENTS[6], VIPS[6], (40000, 80), flags=SYN)
    sent(send, ip(6, 60, p.extension(p.TCP) + segment))
    assert begun(bench) == (1, {1: 1})


def test_flows_that_began_are_cleared_for_the_named_ids_only(bench: Bench) -> None:
    serve(bench, 4)
    sent(bench.send, tcp(4, SYN))
    bench.maps.clear_counters(vservers=[2], services=[1])
    assert begun(bench) == (1, {})
    bench.maps.clear_counters(vservers=[1])
    assert begun(bench) == (0, {})


def test_the_last_service_of_the_table_is_counted_too(bench: Bench) -> None:
    last = MAX_SERVICES - 1
    bench.put(Table.SERVICES, last, ServiceEntry(last, 1, service_mac(last), EGRESS_MAC))
    serve(bench, 4, service=last)
    sent(bench.send, tcp(4, SYN))
    assert begun(bench) == (1, {last: 1})


def test_a_new_process_finds_what_was_counted(bench: Bench, object_file: Path, pin_dir: Path) -> None:
    serve(bench, 4)
    sent(bench.send, tcp(4, SYN))
    second = loader.load(object_file, pin_dir)
    try:
        assert KernelMaps(second.maps).counters().vserver_flows == {1: 1}
    finally:
        second.close()
