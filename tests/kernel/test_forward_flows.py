"""What the forwarder remembers: flows of sessionful vservers, persistent sources, first fragments."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from dataplane.rotation import rotation
from dataplane.steps import Delete, Table
from dataplane.tables import (
    RING_SLOTS,
    ClosedKey,
    ClosedState,
    Count,
    HashField,
    PolicyEntry,
    Reason,
    ServiceEntry,
    ServiceFlag,
    VServerFlag,
    VServerKey,
)
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, Outcome, service_mac, whole_ring

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
CLIENTS = {4: "192.0.2.1", 6: "2001:db8::1"}
OTHERS = {4: "192.0.2.200", 6: "2001:db8::200"}
VIPS = {4: "203.0.113.80", 6: "2001:db8:80::80"}
ROW = 101  # of vserver 1
FIN, SYN, RST, ACK = 1, 2, 4, 16
SESSIONS, ROTATE, PERSIST = VServerFlag.SESSIONS, VServerFlag.ROTATE, VServerFlag.PERSIST


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Turns are taken by each CPU for itself."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def ip(version: int, source: str, protocol: int, segment: bytes) -> bytes:
    if version == 4:
        return p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(source, VIPS[4], protocol, segment))
    return p.ethernet(OWN_MAC, MAC, p.IPV6, p.ipv6(source, VIPS[6], protocol, segment))


def tcp(version: int, flags: int, port: int = 40000, source: str = "") -> bytes:
    source = source or CLIENTS[version]
    return ip(version, source, p.TCP, p.tcp(source, VIPS[version], (port, 80), b"data", flags=flags))


def udp(version: int, port: int = 40000, source: str = "") -> bytes:
    source = source or CLIENTS[version]
    return ip(version, source, p.UDP, p.udp(source, VIPS[version], (port, 80), b"data"))


def service_of(bench: Bench, frame: bytes) -> int:
    """The service that the frame goes to, which must leave as it came but for the MACs."""
    done = bench.send(frame)
    assert done.reason is Reason.FORWARDED, done.reason
    assert done.frame[6:] == EGRESS_MAC + frame[12:]
    return int(struct.unpack(">H", done.frame[4:6])[0])


def add(bench: Bench, version: int, protocol: int, flags: VServerFlag, service: int, **options: PolicyEntry) -> None:
    key = VServerKey(ip_address(VIPS[version]), protocol, 80)
    bench.add_vserver(key, 1, whole_ring(service), flags=flags, policy=options.get("policy"))


@pytest.mark.parametrize("version", [4, 6])
def test_a_flow_keeps_its_service_and_a_new_one_gets_what_the_ring_says(bench: Bench, version: int) -> None:
    add(bench, version, p.TCP, SESSIONS, 1)
    assert service_of(bench, tcp(version, SYN)) == 1
    bench.put(Table.RINGS, 1, whole_ring(2))
    assert service_of(bench, tcp(version, SYN)) == 1  # sent again
    assert service_of(bench, tcp(version, ACK)) == 1
    assert service_of(bench, tcp(version, ACK)) == 1
    assert service_of(bench, tcp(version, SYN, port=40001)) == 2
    assert service_of(bench, tcp(version, SYN, source=OTHERS[version])) == 2
    assert bench.maps.flows() == {(ROW, 1): 1, (ROW, 2): 2}


@pytest.mark.parametrize("version", [4, 6])
def test_udp_flows_are_kept_too(bench: Bench, version: int) -> None:
    add(bench, version, p.UDP, SESSIONS, 1)
    assert service_of(bench, udp(version)) == 1
    bench.put(Table.RINGS, 1, whole_ring(2))
    assert [service_of(bench, udp(version)) for _ in range(3)] == [1, 1, 1]
    assert service_of(bench, udp(version, port=40001)) == 2


def count_of(bench: Bench, name: str) -> int:
    opened = bench.forwarder.maps[name]
    return len(opened.dump()[0]) // opened.key_size


def test_only_the_second_packet_that_is_no_syn_makes_a_flow(bench: Bench) -> None:
    add(bench, 4, p.TCP, SESSIONS, 1)
    for _ in range(3):
        bench.send(tcp(4, SYN))
        assert (count_of(bench, "embryos"), count_of(bench, "flows")) == (1, 0)
    bench.send(tcp(4, ACK))
    assert (count_of(bench, "embryos"), count_of(bench, "flows")) == (0, 1)
    bench.send(tcp(4, ACK, port=40001))  # nobody saw it begin: one packet is not yet a flow
    assert (count_of(bench, "embryos"), count_of(bench, "flows")) == (1, 1)


@pytest.mark.parametrize("last", [FIN | ACK, RST])
def test_after_fin_or_rst_the_flow_goes_on_until_a_new_syn(bench: Bench, last: int) -> None:
    add(bench, 4, p.TCP, SESSIONS, 1)
    for flags in (SYN, ACK):
        assert service_of(bench, tcp(4, flags)) == 1
    bench.put(Table.RINGS, 1, whole_ring(2))
    assert service_of(bench, tcp(4, last)) == 1
    assert service_of(bench, tcp(4, ACK)) == 1
    assert service_of(bench, tcp(4, SYN)) == 2


def test_a_flow_ends_when_it_was_idle_for_too_long(bench: Bench) -> None:
    full = ip_address("255.255.255.255")
    add(bench, 4, p.UDP, SESSIONS, 1, policy=PolicyEntry(ROW, 60, 0, full))
    for _ in range(2):
        assert service_of(bench, udp(4)) == 1
    bench.put(Table.RINGS, 1, whole_ring(2))
    assert service_of(bench, udp(4)) == 1
    bench.put(Table.POLICIES, 1, PolicyEntry(ROW, 0, 0, full))  # idle for 0 seconds is too long
    assert service_of(bench, udp(4)) == 2


@pytest.mark.parametrize("established", [False, True])
def test_a_service_that_went_away_or_whose_id_passed_on_takes_no_flow_along(bench: Bench, established: bool) -> None:
    add(bench, 4, p.TCP, SESSIONS, 1)
    for flags in (SYN, ACK) if established else (SYN,):
        bench.send(tcp(4, flags))
    bench.put(Table.RINGS, 1, whole_ring(2))
    bench.put(Table.SERVICES, 1, ServiceEntry(777, 1, service_mac(1), EGRESS_MAC))
    assert service_of(bench, tcp(4, ACK)) == 2
    add(bench, 4, p.UDP, SESSIONS, 3)
    for _ in range(2):
        assert service_of(bench, udp(4)) == 3
    bench.put(Table.RINGS, 1, whole_ring(2))
    bench.maps.apply(Delete(Table.SERVICES, 3))
    assert service_of(bench, udp(4)) == 2


@pytest.mark.parametrize(("state", "old"), [(ClosedState.DRAIN, 1), (ClosedState.FLUSH, 2)])
def test_flows_of_a_closed_service_drain_or_move(bench: Bench, state: ClosedState, old: int) -> None:
    add(bench, 4, p.TCP, SESSIONS | PERSIST, 1)
    for flags in (SYN, ACK):
        assert service_of(bench, tcp(4, flags)) == 1
    bench.put(Table.RINGS, 1, whole_ring(2))
    assert service_of(bench, tcp(4, SYN, port=40001)) == 1  # the source persists
    bench.put(Table.SERVICES, 1, ServiceEntry(1, 1, service_mac(1), EGRESS_MAC, ServiceFlag.CLOSED))
    bench.put(Table.CLOSED, ClosedKey(ROW + 1, 1), state)
    assert service_of(bench, tcp(4, ACK)) == 1  # closed to another vserver
    bench.put(Table.CLOSED, ClosedKey(ROW, 1), state)
    assert service_of(bench, tcp(4, SYN, port=40002)) == 2
    assert service_of(bench, tcp(4, ACK)) == old


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flags", [PERSIST, PERSIST | SESSIONS])
def test_a_source_and_its_network_persist(bench: Bench, version: int, flags: VServerFlag) -> None:
    mask = ip_address("255.255.255.0" if version == 4 else "ffff:ffff:ffff:ffff::")
    add(bench, version, p.TCP, flags, 1, policy=PolicyEntry(ROW, 60, 60, mask))
    for tcp_flags in (SYN, ACK):
        bench.send(tcp(version, tcp_flags))
    bench.put(Table.RINGS, 1, whole_ring(2))
    assert service_of(bench, tcp(version, SYN, port=40001)) == 1
    assert service_of(bench, tcp(version, SYN, source=OTHERS[version])) == 1
    stranger = "198.51.100.1" if version == 4 else "2001:db8:1::1"
    assert service_of(bench, tcp(version, SYN, source=stranger)) == 2


def test_turns_follow_weights_for_packets_or_for_flows(bench: Bench) -> None:
    ring = rotation([("a", 1, 1), ("b", 2, 2), ("c", 1, 3)])
    key = VServerKey(ip_address(VIPS[4]), p.UDP, 80)
    bench.add_vserver(key, 1, ring, flags=ROTATE)
    got = [service_of(bench, udp(4)) for _ in range(400)]
    assert Counter(got) == {1: 100, 2: 200, 3: 100}
    assert got[:4] * 100 == got
    bench.add_vserver(key, 1, ring, flags=ROTATE | SESSIONS)
    first = {port: service_of(bench, udp(4, port)) for port in range(1, 401)}
    assert Counter(first.values()) == {1: 100, 2: 200, 3: 100}
    assert {port: service_of(bench, udp(4, port)) for port in first} == first


def test_turns_come_round_the_whole_ring(bench: Bench) -> None:
    ring = struct.pack("<H", 1) * (RING_SLOTS - 1) + struct.pack("<H", 2)
    bench.add_vserver(VServerKey(ip_address(VIPS[4]), p.UDP, 80), 1, ring, flags=ROTATE)
    got = Counter(service_of(bench, udp(4)) for _ in range(RING_SLOTS))
    assert got == {1: RING_SLOTS - 1, 2: 1}


def test_a_connection_that_nobody_saw_begin_takes_no_turn(bench: Bench) -> None:
    ring = rotation([("a", 1, 1), ("b", 1, 2)])
    bench.add_vserver(VServerKey(ip_address(VIPS[4]), p.TCP, 80), 1, ring, flags=ROTATE | SESSIONS)
    first = {port: service_of(bench, tcp(4, ACK, port)) for port in range(1, 60)}
    for name in ("flows", "embryos"):  # another director
        opened = bench.forwarder.maps[name]
        for place in range(0, len(keys := opened.dump()[0]), opened.key_size):
            opened.delete(keys[place : place + opened.key_size])
    assert {port: service_of(bench, tcp(4, ACK, port)) for port in first} == first


def test_an_icmp_error_follows_the_flow_and_makes_none(bench: Bench) -> None:
    add(bench, 4, p.TCP, SESSIONS, 1)
    for flags in (SYN, ACK):
        bench.send(tcp(4, flags))
    bench.put(Table.RINGS, 1, whole_ring(2))
    for port, service in ((40000, 1), (40001, 2)):
        quoted = p.ipv4(VIPS[4], CLIENTS[4], p.TCP, p.tcp(VIPS[4], CLIENTS[4], (80, port)))
        error = p.ipv4("198.51.100.7", VIPS[4], p.ICMP, p.icmp(3, bytes(4) + quoted[:28]))
        assert service_of(bench, p.ethernet(OWN_MAC, MAC, p.IPV4, error)) == service
    assert (count_of(bench, "embryos"), count_of(bench, "flows")) == (0, 1)


def fragment(version: int, offset: int, *, ident: int = 7, source: str = "", more: bool = True) -> bytes:
    """Of a UDP datagram to port 80; ports stand at offset 0 only."""
    source, vip = source or CLIENTS[version], VIPS[version]
    data = p.udp(source, vip, (40000, 80), bytes(40), summed=False) if offset == 0 else b"\0\x51" * 20
    if version == 4:
        packet = p.ipv4(source, vip, p.UDP, data, offset=offset, more=more, ident=ident)
        return p.ethernet(OWN_MAC, MAC, p.IPV4, packet)
    header = p.fragment_header(p.UDP, offset, more=more, ident=ident)
    return p.ethernet(OWN_MAC, MAC, p.IPV6, p.ipv6(source, vip, p.FRAGMENT, header + data))


@pytest.mark.parametrize("flags", [VServerFlag(0), SESSIONS, ROTATE, PERSIST], ids=repr)
@pytest.mark.parametrize("fields", [HashField.SOURCE, HashField.SOURCE | HashField.SOURCE_PORT], ids=repr)
@pytest.mark.parametrize("version", [4, 6])
def test_later_fragments_follow_the_first(bench: Bench, version: int, fields: HashField, flags: VServerFlag) -> None:
    key = VServerKey(ip_address(VIPS[version]), p.UDP, 80)
    bench.add_vserver(key, 1, whole_ring(1), fields=fields, flags=flags)
    early = fragment(version, 48)
    assert bench.send(early) == Outcome("drop", Reason.DROP_FRAGMENT, early, Count(1, len(early)))
    assert service_of(bench, fragment(version, 0)) == 1
    bench.put(Table.RINGS, 1, whole_ring(2))
    assert service_of(bench, fragment(version, 48)) == 1
    assert service_of(bench, fragment(version, 88, more=False)) == 1
    for stranger in (fragment(version, 48, ident=8), fragment(version, 48, source=OTHERS[version])):
        assert bench.send(stranger).reason is Reason.DROP_FRAGMENT
    assert bench.maps.counters().vservers[1].packets == 3
    bench.maps.apply(Delete(Table.SERVICES, 1))
    assert bench.send(fragment(version, 48)).reason is Reason.DROP_FRAGMENT


@pytest.mark.parametrize("version", [4, 6])
def test_a_later_fragment_alone_goes_by_addresses_where_these_decide(bench: Bench, version: int) -> None:
    key = VServerKey(ip_address(VIPS[version]), 0, 0)
    bench.add_vserver(key, 1, whole_ring(1))
    assert service_of(bench, fragment(version, 48)) == 1
    bench.add_vserver(key, 1, whole_ring(1), fields=HashField.SOURCE | HashField.SOURCE_PORT)
    assert bench.send(fragment(version, 48)).reason is Reason.DROP_FRAGMENT
