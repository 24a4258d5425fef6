"""ICMP to a VIP: errors follow the flow that they are about, pings are answered, forwarded or dropped."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from dataplane.hashing import client_slot
from dataplane.steps import Table
from dataplane.tables import RING_SLOTS, Count, HashField, Reason, VipFlag, VServerKey
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, Outcome, service_mac, whole_ring

pytestmark = pytest.mark.kernel

ROUTER_MAC = bytes.fromhex("02cc00000001")
CLIENT, ROUTER, VIP, OTHER = "192.0.2.1", "198.51.100.7", "203.0.113.80", "203.0.113.99"
CLIENT6, ROUTER6, VIP6, OTHER6 = "2001:db8::1", "2001:db8:7::7", "2001:db8:80::80", "2001:db8:80::99"
CLIENTS, ROUTERS, VIPS, OTHERS = (
    {4: four, 6: six} for four, six in ((CLIENT, CLIENT6), (ROUTER, ROUTER6), (VIP, VIP6), (OTHER, OTHER6))
)
ERRORS = [*((4, kind) for kind in (3, 11, 12)), *((6, kind) for kind in (1, 2, 3, 4))]
PING = {4: 8, 6: 128}


def reply(version: int, protocol: int = p.TCP, data: bytes = b"data" * 5, *, source: str = "") -> bytes:
    """What a server sent from the VIP: port 80 to the client's 40000."""
    vip, client, ports = source or VIPS[version], CLIENTS[version], (80, 40000)
    segment = p.tcp(vip, client, ports, data) if protocol == p.TCP else p.udp(vip, client, ports, data)
    return p.ipv4(vip, client, protocol, segment) if version == 4 else p.ipv6(vip, client, protocol, segment)


def to_vip(version: int, kind: int, body: bytes, *, source: str = "", ttl: int = 64) -> bytes:
    """A frame with an ICMP message to the VIP."""
    source, vip = source or ROUTERS[version], VIPS[version]
    if version == 4:
        return p.ethernet(OWN_MAC, ROUTER_MAC, p.IPV4, p.ipv4(source, vip, p.ICMP, p.icmp(kind, body), ttl=ttl))
    packet = p.ipv6(source, vip, p.ICMPV6, p.icmpv6(source, vip, kind, body), hops=ttl)
    return p.ethernet(OWN_MAC, ROUTER_MAC, p.IPV6, packet)


def about(quoted: bytes, version: int, kind: int) -> bytes:
    return to_vip(version, kind, bytes(4) + quoted)


def untouched(frame: bytes, verdict: str, reason: Reason) -> Outcome:
    return Outcome(verdict, reason, frame, Count(1, len(frame)))


def forwarded(frame: bytes, service: int) -> Outcome:
    return Outcome("redirect", Reason.FORWARDED, service_mac(service) + EGRESS_MAC + frame[12:], Count(1, len(frame)))


def clients_own_ring(bench: Bench, version: int, fields: HashField) -> bytes:
    """Service 2 in the slot of the client's flow, service 1 in all others."""
    full = ip_address("255.255.255.255" if version == 4 else ":".join(["ffff"] * 8))
    slot = client_slot(
        bench.maps.read().settings.hash_key,
        fields,
        full,
        source=ip_address(CLIENTS[version]),
        destination=ip_address(VIPS[version]),
        source_port=40000,
    )
    return struct.pack("<H", 1) * slot + struct.pack("<H", 2) + struct.pack("<H", 1) * (RING_SLOTS - slot - 1)


@pytest.mark.parametrize("fields", [HashField.SOURCE, HashField.SOURCE | HashField.SOURCE_PORT], ids=repr)
@pytest.mark.parametrize(("version", "kind"), ERRORS)
def test_an_error_goes_to_the_server_that_has_the_flow_it_is_about(
    bench: Bench, version: int, kind: int, fields: HashField
) -> None:
    key = VServerKey(ip_address(VIPS[version]), p.TCP, 80)
    bench.add_vserver(key, 1, clients_own_ring(bench, version, fields), fields=fields)
    frame = about(reply(version), version, kind)
    assert bench.send(frame) == forwarded(frame, 2)


@pytest.mark.parametrize("protocol", [p.TCP, p.UDP])
@pytest.mark.parametrize("version", [4, 6])
def test_eight_octets_behind_the_quoted_header_are_enough_and_fewer_than_four_are_not(
    bench: Bench, version: int, protocol: int
) -> None:
    bench.add_vserver(VServerKey(ip_address(VIPS[version]), protocol, 80), 1, whole_ring(3))
    header = 20 if version == 4 else 40
    kind = 3 if version == 4 else 1
    for octets, reason in ((8, Reason.FORWARDED), (4, Reason.FORWARDED), (3, Reason.DROP_QUOTATION)):
        frame = about(reply(version, protocol)[: header + octets], version, kind)
        expected = forwarded(frame, 3) if reason is Reason.FORWARDED else untouched(frame, "drop", reason)
        assert bench.send(frame) == expected
    for octets in (0, 3, header - 1):
        frame = about(reply(version, protocol)[:octets], version, kind)
        assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_QUOTATION)


def test_quoted_options_and_extension_headers_are_stepped_over(bench: Bench) -> None:
    bench.add_vserver(VServerKey(ip_address(VIP), p.TCP, 80), 1, whole_ring(3))
    bench.add_vserver(VServerKey(ip_address(VIP6), p.TCP, 80), 2, whole_ring(4))
    quoted = p.ipv4(VIP, CLIENT, p.TCP, p.tcp(VIP, CLIENT, (80, 40000)), options=b"\x01" * 40)
    assert bench.send(about(quoted, 4, 3)).frame[:6] == service_mac(3)
    quoted = p.ipv6(VIP6, CLIENT6, p.FRAGMENT, p.fragment_header(p.TCP, 0, more=True) + p.tcp(VIP6, CLIENT6, (80, 4)))
    assert bench.send(about(quoted, 6, 2)).frame[:6] == service_mac(4)


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_quotation_is_about_must_have_come_from_this_vip(bench: Bench, version: int) -> None:
    bench.add_vserver(VServerKey(ip_address(VIPS[version]), 0, 0), 1, whole_ring(3))
    for quoted in (
        reply(version, source=OTHERS[version]),
        reply(10 - version),  # IPv6 in ICMP, IPv4 in ICMPv6
    ):
        frame = about(quoted, version, 3)
        assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_QUOTATION)


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_about_a_port_of_no_vserver_is_dropped_as_such(bench: Bench, version: int) -> None:
    bench.add_vserver(VServerKey(ip_address(VIPS[version]), p.TCP, 81), 1, whole_ring(3))
    frame = about(reply(version), version, 3)
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_NO_VSERVER)


def echo_reply(version: int, body: bytes) -> bytes:
    """The whole frame that must come back."""
    vip, client = VIPS[version], ROUTERS[version]
    if version == 4:
        return p.ethernet(ROUTER_MAC, OWN_MAC, p.IPV4, p.ipv4(vip, client, p.ICMP, p.icmp(0, body)))
    return p.ethernet(ROUTER_MAC, OWN_MAC, p.IPV6, p.ipv6(vip, client, p.ICMPV6, p.icmpv6(vip, client, 129, body)))


@pytest.mark.parametrize("ttl", [1, 64, 255])
@pytest.mark.parametrize("body", [b"\0\1\0\1", struct.pack(">HH", 7, 1) + b"0123456789" * 5, b"\xff" * 1400], ids=len)
@pytest.mark.parametrize("version", [4, 6])
def test_a_ping_is_answered_with_right_sums(bench: Bench, version: int, body: bytes, ttl: int) -> None:
    vip = ip_address(VIPS[version])
    bench.put(Table.VIPS, vip, VipFlag.PROTO_PORT | VipFlag.PING_ANSWER)
    frame = to_vip(version, PING[version], body, ttl=ttl)
    done = bench.send(frame)
    assert done == Outcome("redirect", Reason.PING_ANSWERED, echo_reply(version, body), Count(1, len(frame)))


@pytest.mark.parametrize("version", [4, 6])
def test_pings_are_dropped_or_forwarded_as_the_vip_says(bench: Bench, version: int) -> None:
    vip = ip_address(VIPS[version])
    bench.add_vserver(VServerKey(vip, 0, 0), 1, whole_ring(3))
    frame = to_vip(version, PING[version], bytes(12))
    assert bench.send(frame) == forwarded(frame, 3)
    bench.put(Table.VIPS, vip, VipFlag.ANY | VipFlag.PING_DROP)
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_PING)
    bench.put(Table.VIPS, vip, VipFlag.ANY | VipFlag.PING_DROP | VipFlag.PING_ANSWER)
    assert bench.send(frame).reason is Reason.PING_ANSWERED
    other = to_vip(version, PING[version] + 1, bytes(12))  # a reply, or a source quench: no ping
    assert bench.send(other) == forwarded(other, 3)


@pytest.mark.parametrize("source", ["0.0.0.0", "224.0.0.1", "255.255.255.255", VIP, "::", "ff02::1", VIP6])
def test_a_ping_from_nobody_or_everybody_is_not_answered(bench: Bench, source: str) -> None:
    version = ip_address(source).version
    bench.put(Table.VIPS, ip_address(VIPS[version]), VipFlag.PING_ANSWER)
    frame = to_vip(version, PING[version], bytes(12), source=source)
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_PING)


def test_a_fragmented_ping_or_one_with_options_is_not_answered(bench: Bench) -> None:
    bench.put(Table.VIPS, ip_address(VIP), VipFlag.PING_ANSWER)
    message = p.icmp(8, bytes(20))
    for packet in (
        p.ipv4(CLIENT, VIP, p.ICMP, message, more=True),
        p.ipv4(CLIENT, VIP, p.ICMP, message, options=b"\x01" * 4),
    ):
        frame = p.ethernet(OWN_MAC, ROUTER_MAC, p.IPV4, packet)
        assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_PING)
