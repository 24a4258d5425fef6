"""Which frames are forwarded, to whom, and why the others are not: whole frame in, whole frame out."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dataplane.steps import Delete, Put, Table
from dataplane.tables import Count, Reason, ServiceEntry, VipFlag, VServerKey
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, Outcome, service_mac, whole_ring

pytestmark = pytest.mark.kernel

CLIENT_MAC = bytes.fromhex("02cc00000001")
CLIENT, VIP, OTHER = "192.0.2.1", "203.0.113.80", "203.0.113.99"
CLIENT6, VIP6, OTHER6 = "2001:db8::1", "2001:db8:80::80", "2001:db8:80::99"
V4, V6 = ip_address(VIP), ip_address(VIP6)
PORTS = (40000, 80)


def to_us(kind: int, packet: bytes) -> bytes:
    return p.ethernet(OWN_MAC, CLIENT_MAC, kind, packet)


def forwarded(frame: bytes, service: int) -> Outcome:
    sent = service_mac(service) + EGRESS_MAC + frame[12:]
    return Outcome("redirect", Reason.FORWARDED, sent, Count(1, len(frame)))


def untouched(frame: bytes, verdict: str, reason: Reason) -> Outcome:
    return Outcome(verdict, reason, frame, Count(1, len(frame)))


TRANSPORT4 = {
    p.TCP: p.tcp(CLIENT, VIP, PORTS, b"hello"),
    p.UDP: p.udp(CLIENT, VIP, PORTS, b"hello"),
    p.UDPLITE: p.udplite(CLIENT, VIP, PORTS, b"hello"),
    p.SCTP: p.sctp(PORTS),
    p.DCCP: p.dccp(CLIENT, VIP, PORTS),
}
TRANSPORT6 = {
    p.TCP: p.tcp(CLIENT6, VIP6, PORTS, b"hello"),
    p.UDP: p.udp(CLIENT6, VIP6, PORTS, b"hello"),
    p.UDPLITE: p.udplite(CLIENT6, VIP6, PORTS, b"hello"),
    p.SCTP: p.sctp(PORTS),
    p.DCCP: p.dccp(CLIENT6, VIP6, PORTS),
}


@pytest.mark.parametrize("protocol", TRANSPORT4)
def test_ipv4_to_a_vserver_gets_both_macs_and_nothing_else_changes(bench: Bench, protocol: int) -> None:
    bench.add_vserver(VServerKey(V4, protocol, 80), 7, whole_ring(3))
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, protocol, TRANSPORT4[protocol]))
    assert bench.send(frame) == forwarded(frame, 3)
    counters = bench.maps.counters()
    assert counters.vservers == {7: Count(1, len(frame))}
    assert counters.services[3] == Count(1, len(frame))
    assert all(count == Count() for service, count in counters.services.items() if service != 3)


@pytest.mark.parametrize("protocol", TRANSPORT6)
def test_ipv6_to_a_vserver_gets_both_macs_and_nothing_else_changes(bench: Bench, protocol: int) -> None:
    bench.add_vserver(VServerKey(V6, protocol, 80), 7, whole_ring(3))
    frame = to_us(p.IPV6, p.ipv6(CLIENT6, VIP6, protocol, TRANSPORT6[protocol]))
    assert bench.send(frame) == forwarded(frame, 3)
    assert bench.maps.counters().vservers == {7: Count(1, len(frame))}


@pytest.mark.parametrize(("source", "destination"), [(CLIENT6, f"::ffff:{VIP}"), (f"::ffff:{CLIENT}", VIP6)])
def test_ipv6_with_an_ipv4_mapped_address_is_for_no_vip(bench: Bench, source: str, destination: str) -> None:
    for address in (V4, V6):
        bench.add_vserver(VServerKey(address, 0, 0), address.version, whole_ring(3))
    frame = to_us(p.IPV6, p.ipv6(source, destination, p.TCP, p.tcp(source, destination, PORTS)))
    assert bench.send(frame) == untouched(frame, "pass", Reason.PASS_MALFORMED)


def test_the_most_precise_vserver_wins_in_the_documented_order(bench: Bench) -> None:
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP]))
    order = [VServerKey(V4, 0, 0), VServerKey(V4, 0, 80), VServerKey(V4, p.TCP, 0), VServerKey(V4, p.TCP, 80)]
    for service, key in enumerate(order, start=1):
        bench.add_vserver(key, service, whole_ring(service))
        assert bench.send(frame) == forwarded(frame, service), key
    other_port = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, p.tcp(CLIENT, VIP, (40000, 81))))
    assert bench.send(other_port) == forwarded(other_port, 3)
    other_protocol = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.UDP, TRANSPORT4[p.UDP]))
    assert bench.send(other_protocol) == forwarded(other_protocol, 2)
    ping = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.ICMP, p.icmp(8, b"ping")))
    assert bench.send(ping) == forwarded(ping, 1)


def test_a_protocol_without_ports_matches_its_own_any_port_vserver(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, p.ESP, 0), 1, whole_ring(4))
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.ESP, b"\x30\x39\0\x50" + bytes(20)))
    assert bench.send(frame) == forwarded(frame, 4)


@pytest.mark.parametrize(
    ("protocol", "port", "flag"),
    [(p.TCP, 80, VipFlag.PROTO_PORT), (p.TCP, 0, VipFlag.PROTO), (0, 80, VipFlag.PORT), (0, 0, VipFlag.ANY)],
)
def test_a_vserver_is_found_only_if_the_vips_flags_say_so(
    bench: Bench, protocol: int, port: int, flag: VipFlag
) -> None:
    bench.add_vserver(VServerKey(V4, protocol, port), 1, whole_ring(4))
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP]))
    every = VipFlag.PROTO_PORT | VipFlag.PROTO | VipFlag.PORT | VipFlag.ANY
    bench.put(Table.VIPS, V4, every & ~flag)
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_NO_VSERVER)
    bench.put(Table.VIPS, V4, flag)
    assert bench.send(frame) == forwarded(frame, 4)


def test_ipv4_options_move_the_ports(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, p.TCP, 80), 1, whole_ring(5))
    for length in (4, 40):
        frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP], options=b"\x01" * length))
        assert bench.send(frame) == forwarded(frame, 5)


@pytest.mark.parametrize(
    ("first", "headers"),
    [
        (p.HOP_BY_HOP, p.extension(p.TCP)),
        (p.DESTINATION, p.extension(p.TCP, 256)),
        (p.ROUTING, p.extension(p.DESTINATION, 24) + p.extension(p.TCP)),
        (p.AH, p.authentication_header(p.TCP)),
        (p.FRAGMENT, p.fragment_header(p.TCP, 0, more=False)),
        (p.FRAGMENT, p.fragment_header(p.TCP, 0, more=True)),
        (p.HOP_BY_HOP, p.extension(p.DESTINATION) + p.extension(p.DESTINATION) * 4 + p.extension(p.TCP)),
    ],
)
def test_up_to_six_ipv6_extension_headers_are_stepped_over(bench: Bench, first: int, headers: bytes) -> None:
    bench.add_vserver(VServerKey(V6, p.TCP, 80), 1, whole_ring(5))
    frame = to_us(p.IPV6, p.ipv6(CLIENT6, VIP6, first, headers + TRANSPORT6[p.TCP]))
    assert bench.send(frame) == forwarded(frame, 5)


def test_a_seventh_extension_header_is_malformed(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V6, 0, 0), 1, whole_ring(5))
    headers = p.extension(p.DESTINATION) * 6 + p.extension(p.TCP)
    frame = to_us(p.IPV6, p.ipv6(CLIENT6, VIP6, p.DESTINATION, headers + TRANSPORT6[p.TCP]))
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_MALFORMED)


def later_fragment(version: int) -> bytes:
    data = b"\0\x50" * 20  # would read as port 80
    if version == 4:
        return to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.UDP, data, offset=1480))
    return to_us(p.IPV6, p.ipv6(CLIENT6, VIP6, p.FRAGMENT, p.fragment_header(p.UDP, 1448, more=False) + data))


@pytest.mark.parametrize("address", [V4, V6], ids=str)
def test_later_fragments_match_any_port_vservers_only(bench: Bench, address: object) -> None:
    assert isinstance(address, type(V4) | type(V6))
    frame = later_fragment(address.version)
    bench.add_vserver(VServerKey(address, p.UDP, 80), 1, whole_ring(1))
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_FRAGMENT)
    bench.add_vserver(VServerKey(address, p.UDP, 0), 2, whole_ring(2))
    assert bench.send(frame) == forwarded(frame, 2)


def test_a_later_fragment_without_any_vserver_for_its_protocol_is_no_matter_of_ports(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, p.TCP, 0), 1, whole_ring(1))
    frame = later_fragment(4)
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_NO_VSERVER)


@pytest.mark.parametrize(
    "packet",
    [
        p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP], header_words=4),
        p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP], header_words=15),
        p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP], total_length=19),
        p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP], total_length=23),
        p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP], total_length=1000),
        p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP], total_length=0),
        p.ipv4(CLIENT, VIP, p.TCP, b"\x9c\x40\0"),
        p.ipv4(CLIENT, VIP, p.TCP, b""),
    ],
)
def test_ipv4_for_a_vip_with_contradicting_lengths_is_dropped(bench: Bench, packet: bytes) -> None:
    bench.add_vserver(VServerKey(V4, p.TCP, 80), 1, whole_ring(1))
    bench.add_vserver(VServerKey(V4, 0, 0), 2, whole_ring(1))
    frame = to_us(p.IPV4, packet)
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_MALFORMED)


@pytest.mark.parametrize(
    "packet",
    [
        p.ipv6(CLIENT6, VIP6, p.TCP, TRANSPORT6[p.TCP], length=1000),
        p.ipv6(CLIENT6, VIP6, p.TCP, TRANSPORT6[p.TCP], length=3),
        p.ipv6(CLIENT6, VIP6, p.TCP, TRANSPORT6[p.TCP], length=0),
        p.ipv6(CLIENT6, VIP6, p.TCP, b"\x9c\x40\0"),
        p.ipv6(CLIENT6, VIP6, p.HOP_BY_HOP, p.extension(p.TCP, 64)[:24]),
        p.ipv6(CLIENT6, VIP6, p.HOP_BY_HOP, b""),
        p.ipv6(CLIENT6, VIP6, p.FRAGMENT, p.fragment_header(p.TCP, 0, more=True)[:4]),
    ],
)
def test_ipv6_for_a_vip_with_contradicting_lengths_is_dropped(bench: Bench, packet: bytes) -> None:
    bench.add_vserver(VServerKey(V6, p.TCP, 80), 1, whole_ring(1))
    bench.add_vserver(VServerKey(V6, 0, 0), 2, whole_ring(1))
    frame = to_us(p.IPV6, packet)
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_MALFORMED)


def test_link_padding_is_no_part_of_the_packet(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, p.UDP, 80), 1, whole_ring(1))
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.UDP, p.udp(CLIENT, VIP, PORTS))) + bytes(18)
    assert bench.send(frame) == forwarded(frame, 1)
    short = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.UDP, b"")) + b"\x9c\x40\0\x50" + bytes(22)
    assert bench.send(short) == untouched(short, "drop", Reason.DROP_MALFORMED)


def test_a_packet_of_another_ip_version_than_its_frame_says_passes(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, 0, 0), 1, whole_ring(1))
    bench.add_vserver(VServerKey(V6, 0, 0), 2, whole_ring(1))
    for frame in (
        to_us(p.IPV6, p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP])),
        to_us(p.IPV4, p.ipv6(CLIENT6, VIP6, p.TCP, TRANSPORT6[p.TCP])),
    ):
        assert bench.send(frame) == untouched(frame, "pass", Reason.PASS_MALFORMED)


def test_other_destinations_pass(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, 0, 0), 1, whole_ring(1))
    bench.add_vserver(VServerKey(V6, 0, 0), 2, whole_ring(1))
    for frame in (
        to_us(p.IPV4, p.ipv4(CLIENT, OTHER, p.TCP, p.tcp(CLIENT, OTHER, PORTS))),
        to_us(p.IPV4, p.ipv4(CLIENT, OTHER, p.TCP, b"", total_length=9)),
        to_us(p.IPV6, p.ipv6(CLIENT6, OTHER6, p.TCP, p.tcp(CLIENT6, OTHER6, PORTS))),
    ):
        assert bench.send(frame) == untouched(frame, "pass", Reason.PASS_NOT_VIP)


def test_frames_to_another_mac_or_a_group_pass_even_if_the_packet_is_for_a_vip(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, 0, 0), 1, whole_ring(1))
    bench.add_vserver(VServerKey(V6, 0, 0), 2, whole_ring(1))
    for kind, packet in (
        (p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP])),
        (p.IPV6, p.ipv6(CLIENT6, VIP6, p.TCP, TRANSPORT6[p.TCP])),
    ):
        for mac in (bytes.fromhex("02dd00000001"), p.BROADCAST, bytes.fromhex("01005e000001")):
            frame = p.ethernet(mac, CLIENT_MAC, kind, packet)
            assert bench.send(frame) == untouched(frame, "pass", Reason.PASS_NOT_TO_US)


def test_tagged_frames_and_other_protocols_pass(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, 0, 0), 1, whole_ring(1))
    inner = b"\0\x05\x08\0" + p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP])
    for kind in (p.VLAN, 0x88A8):
        tagged = to_us(kind, inner)
        assert bench.send(tagged) == untouched(tagged, "pass", Reason.PASS_VLAN)
    lldp = to_us(0x88CC, bytes(46))
    assert bench.send(lldp) == untouched(lldp, "pass", Reason.PASS_NOT_IP)


def test_drops_name_what_is_missing(bench: Bench) -> None:
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP]))
    bench.put(Table.VIPS, V4, VipFlag.PROTO_PORT)
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_NO_VSERVER)
    bench.add_vserver(VServerKey(V4, p.TCP, 80), 1, whole_ring(0))
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_NO_SERVICE)
    bench.put(Table.RINGS, 1, whole_ring(50))
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_TABLE)
    bench.put(Table.SERVICES, 50, ServiceEntry(1, 1, EGRESS_MAC, EGRESS_MAC))
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_OWN_MAC)
    bench.put(Table.SERVICES, 50, ServiceEntry(1, 1, service_mac(50), EGRESS_MAC))
    assert bench.send(frame) == forwarded(frame, 50)
    bench.maps.apply(Delete(Table.SERVICES, 50))
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_TABLE)
    bench.maps.apply(Delete(Table.RINGS, 1))
    assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_TABLE)


def test_only_whole_macs_count_as_our_own(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, p.TCP, 80), 1, whole_ring(50))
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP]))
    for octet in range(6):
        mac = bytearray(EGRESS_MAC)
        mac[octet] ^= 0x80
        bench.maps.apply(Put(Table.SERVICES, 50, ServiceEntry(1, 1, bytes(mac), EGRESS_MAC)))
        assert bench.send(frame).frame == bytes(mac) + EGRESS_MAC + frame[12:]


@pytest.mark.parametrize(
    ("kind", "transport", "headers"),
    [
        (p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, p.tcp(CLIENT, VIP, PORTS, bytes(3000))), 14 + 20 + 20),
        (p.IPV6, p.ipv6(CLIENT6, VIP6, p.UDP, p.udp(CLIENT6, VIP6, PORTS, bytes(3000))), 14 + 40 + 8),
    ],
)
def test_a_merged_frame_counts_as_the_frames_it_was_made_of(
    bench: Bench, kind: int, transport: bytes, headers: int
) -> None:
    bench.add_vserver(VServerKey(V4, p.TCP, 80), 1, whole_ring(1))
    bench.add_vserver(VServerKey(V6, p.UDP, 80), 2, whole_ring(1))
    frame = to_us(kind, transport)
    done = bench.send(frame, segments=3)
    assert done.count == Count(3, len(frame) + 2 * headers)


def test_what_is_remembered_of_a_look_up_ends_with_each_change(bench: Bench) -> None:
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, TRANSPORT4[p.TCP]))
    wide, narrow = VServerKey(V4, 0, 0), VServerKey(V4, p.TCP, 80)
    bench.add_vserver(wide, 1, whole_ring(1))
    for _ in range(2):
        assert bench.send(frame) == forwarded(frame, 1)
    bench.add_vserver(narrow, 2, whole_ring(2))
    for _ in range(2):
        assert bench.send(frame) == forwarded(frame, 2)
    bench.maps.apply(Delete(Table.VSERVERS, narrow))
    for _ in range(2):
        assert bench.send(frame) == forwarded(frame, 1)
    bench.put(Table.VIPS, V4, VipFlag.PROTO)
    for _ in range(2):
        assert bench.send(frame) == untouched(frame, "drop", Reason.DROP_NO_VSERVER)
    bench.put(Table.VIPS, V4, VipFlag.ANY)
    assert bench.send(frame) == forwarded(frame, 1)
    bench.maps.apply(Delete(Table.VSERVERS, wide))
    bench.maps.apply(Delete(Table.VIPS, V4))
    assert bench.send(frame) == untouched(frame, "pass", Reason.PASS_NOT_VIP)


def test_look_ups_that_share_a_place_in_memory_do_not_mix(bench: Bench) -> None:
    """4096 ports on 1024 places: each forwards as its own vserver says, in any order."""
    ports = list(range(1, 4097))
    for number in (1, 2):
        bench.add_vserver(VServerKey(V4, p.TCP, number), number, whole_ring(number))
    bench.add_vserver(VServerKey(V4, p.TCP, 0), 3, whole_ring(3))
    for port in [*ports, *reversed(ports)]:
        frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, p.tcp(CLIENT, VIP, (40000, port))))
        assert bench.send(frame).frame[:6] == service_mac(port if port < 3 else 3)


def test_an_aggregate_for_an_any_vserver_counts_tcp_headers(bench: Bench) -> None:
    bench.add_vserver(VServerKey(V4, 0, 0), 1, whole_ring(1))
    frame = to_us(p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, p.tcp(CLIENT, VIP, PORTS, bytes(3000))))
    for _ in range(2):
        assert bench.send(frame, segments=3).count == Count(3, len(frame) + 2 * (14 + 20 + 20))
