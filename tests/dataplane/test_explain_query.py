"""Questions from text, and the frames they make: scapy must find every length and checksum right."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether

from dataplane.dissect import dissect
from dataplane.explain_query import (
    CLIENT_MAC,
    PROTOCOLS,
    QueryError,
    build_frame,
    frame_query,
    parse_frame,
    parse_query,
)
from dataplane.tables import IPAddress

OWN = bytes.fromhex("02aa00000001")
PAIRS = st.one_of(
    st.tuples(*[st.integers(1 << 24, (224 << 24) - 1).map(IPv4Address)] * 2),
    st.tuples(*[st.integers(1 << 125, (1 << 126) - 1).map(IPv6Address)] * 2),
)


@given(PAIRS, st.sampled_from(sorted(PROTOCOLS)), st.integers(0, 65535), st.integers(0, 65535))
def test_frames_are_what_was_asked_for_with_right_checksums(
    addresses: tuple[IPAddress, IPAddress], protocol: str, source_port: int, destination_port: int
) -> None:
    source, destination = addresses
    has_ports = not protocol.startswith("icmp")
    ports = (str(source_port), str(destination_port)) if has_ports else ()
    query = parse_query(str(source), str(destination), protocol, *ports)
    frame = build_frame(query, OWN)
    assert frame[:12] == OWN + CLIENT_MAC
    packet = dissect(frame)
    assert (packet.source, packet.destination, packet.protocol) == (source, destination, query.protocol)
    assert packet.ports == ((source_port, destination_port) if has_ports else None)
    assert not packet.broken
    assert not packet.fragment
    parsed = Ether(frame)
    summed = next((parsed[layer] for layer in (TCP, UDP, ICMP, ICMPv6EchoRequest) if layer in parsed), None)
    fields = [(parsed[IP], "chksum")] if IP in parsed else []
    if summed is not None:
        fields.append((summed, "cksum" if isinstance(summed, ICMPv6EchoRequest) else "chksum"))
    before = [getattr(layer, field) for layer, field in fields]
    for layer, field in fields:
        delattr(layer, field)
    again = Ether(bytes(parsed))
    assert bytes(again) == frame, "scapy computes other sums or lengths"
    assert len(before) == len(fields)
    assert (IPv6 in parsed) == (source.version == 6)


def test_ports_left_out_are_the_defaults_where_there_are_ports() -> None:
    query = parse_query("192.0.2.1", "198.51.100.1")
    assert (query.protocol, query.source_port, query.destination_port) == (6, 40000, 80)
    assert parse_query("192.0.2.1", "198.51.100.1", "icmp").source_port == 0
    assert parse_query("fd00::1", "fd00::2", "ICMP").protocol == 58
    assert parse_query("192.0.2.1", "198.51.100.1", "89").protocol == 89


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "192.0.2.1"), "from: '': must be an IPv4 or IPv6 address"),
        (("192.0.2.1", "192.0.2.0/24"), "to: '192.0.2.0/24': must be an IPv4 or IPv6 address, without prefix length"),
        (("192.0.2.1", "fd00::1"), "from: '192.0.2.1': must be IPv6, like the destination fd00::1"),
        (("224.0.0.1", "192.0.2.1"), "from: '224.0.0.1': must be the address of one host"),
        (("::", "fd00::1"), "from: '::': must be the address of one host"),
        (("fe80::1%eth0", "fd00::1"), "from: 'fe80::1%eth0': must have no zone"),
        (("::ffff:192.0.2.1", "fd00::1"), "must not be IPv4-mapped"),
        (("192.0.2.1", "192.0.2.2", "tpc"), "protocol: 'tpc': must be one of dccp, icmp,"),
        (("192.0.2.1", "192.0.2.2", "256"), "protocol: '256': must be"),
        (("fd00::1", "fd00::2", "44"), "protocol: '44': is an extension header of IPv6"),
        (("192.0.2.1", "192.0.2.2", "tcp", "65536"), "sport: '65536': must be a port number from 0 to 65535"),
        (("192.0.2.1", "192.0.2.2", "udp", "1", "http"), "dport: 'http': must be a port number"),
        (("192.0.2.1", "192.0.2.2", "50", "1"), "sport: '1': protocol 50 has no ports; leave it out"),
    ],
)
def test_what_makes_no_packet_is_refused_by_field_value_and_rule(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(QueryError) as refused:
        parse_query(*arguments)
    assert message in str(refused.value)


def test_frames_are_read_from_any_usual_hexadecimal() -> None:
    frame = bytes(range(64))
    for text in (frame.hex(), frame.hex(":"), frame.hex(" ", 2).upper(), "\n".join(frame.hex(" ").split())):
        assert parse_frame(text).frame == frame
        assert build_frame(parse_frame(text), OWN) == frame
    for text, message in (("0", "pairs of hexadecimal digits"), ("zz", "pairs"), ("00" * 13, "has 13 bytes")):
        with pytest.raises(QueryError, match=message):
            parse_frame(text)
    with pytest.raises(QueryError, match="has 3501 bytes"):
        frame_query(bytes(3501))
