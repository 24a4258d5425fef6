"""Reading frames: whatever the bytes, an answer; and the forwarder's precedence of vservers."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.dissect import Packet, dissect, find_vserver, without_macs
from dataplane.tables import VServerKey
from tests import packets as p

MACS = bytes.fromhex("02aa0000000102cc00000001")
A4, B4, A6, B6 = "192.0.2.1", "198.51.100.80", "2001:db8::1", "2001:db8::80"


def frame(kind: int, body: bytes) -> bytes:
    return p.ethernet(MACS[:6], MACS[6:], kind, body)


def tcp4() -> bytes:
    return p.tcp(A4, B4, (1234, 80))


def tcp6() -> bytes:
    return p.tcp(A6, B6, (1234, 80))


PACKETS = {
    "TCP": p.ipv4(A4, B4, p.TCP, tcp4()),
    "options": p.ipv4(A4, B4, p.TCP, tcp4(), options=b"\1" * 8),
    "TCP, IPv6": p.ipv6(A6, B6, p.TCP, tcp6()),
    "extensions": p.ipv6(A6, B6, p.HOP_BY_HOP, p.extension(p.DESTINATION, 16) + p.extension(p.TCP) + tcp6()),
    "AH": p.ipv6(A6, B6, p.AH, p.authentication_header(p.TCP) + tcp6()),
    "whole in a fragment header": p.ipv6(A6, B6, p.FRAGMENT, p.fragment_header(p.TCP, 0, more=False) + tcp6()),
}


@pytest.mark.parametrize("name", PACKETS)
def test_addresses_and_ports_are_found_behind_whatever_stands_before_them(name: str) -> None:
    packet = dissect(frame(p.IPV4 if PACKETS[name][0] >> 4 == 4 else p.IPV6, PACKETS[name]))
    assert (packet.protocol, packet.ports, packet.broken, packet.fragment) == (6, (1234, 80), False, False)
    assert str(packet.source) in (A4, A6)
    assert str(packet.destination) in (B4, B6)


def test_tags_are_stepped_over() -> None:
    inner = struct.pack(">HHHH", 0x2007, p.VLAN, 9, p.IPV4) + PACKETS["TCP"]
    packet = dissect(frame(0x88A8, inner))
    assert (packet.vlans, packet.kind, packet.ports) == ((7, 9), p.IPV4, (1234, 80))
    assert without_macs(frame(0x88A8, inner)) == without_macs(frame(p.IPV4, PACKETS["TCP"]))


def test_fragments_are_known() -> None:
    first = dissect(frame(p.IPV4, p.ipv4(A4, B4, p.TCP, tcp4(), more=True)))
    later = dissect(frame(p.IPV4, p.ipv4(A4, B4, p.TCP, tcp4(), offset=800)))
    assert (first.fragment, first.later, first.ports) == (True, False, (1234, 80))
    assert (later.fragment, later.later, later.ports) == (True, True, None)
    assert first.fragment_id == later.fragment_id == 0x1234
    six = dissect(frame(p.IPV6, p.ipv6(A6, B6, p.FRAGMENT, p.fragment_header(p.TCP, 800, more=True) + tcp6())))
    assert (six.fragment, six.later, six.protocol, six.fragment_id) == (True, True, p.TCP, 0x1234)


@pytest.mark.parametrize("name", PACKETS)
def test_every_cut_of_a_packet_is_broken_or_unreadable(name: str) -> None:
    kind = p.IPV4 if PACKETS[name][0] >> 4 == 4 else p.IPV6
    whole = frame(kind, PACKETS[name])
    for length in range(14, len(whole)):
        packet = dissect(whole[:length])
        assert packet.broken or packet.destination is None
    with pytest.raises(ValueError, match="frame: 13 bytes"):
        dissect(whole[:13])


@given(
    st.sampled_from([p.IPV4, p.IPV6, p.VLAN, p.ARP, 0]),
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x45", b"\x60"]),
)
def test_any_bytes_have_an_answer(kind: int, body: bytes, start: bytes) -> None:
    packet = dissect(frame(kind, start + body))
    assert packet.ports is None or not packet.broken


def key(protocol: int, port: int, port_end: int = 0) -> VServerKey:
    return VServerKey(ip_address(B4), protocol, port, port_end)


PORTS = st.sampled_from([(0, 0), (80, 0), (443, 0), (70, 90), (75, 95), (80, 443)])


@given(st.frozensets(st.builds(lambda protocol, ports: key(protocol, *ports), st.sampled_from([0, 6, 17]), PORTS)))
def test_the_most_special_vserver_wins(keys: frozenset[VServerKey]) -> None:
    packet = Packet(p.IPV4, (), ip_address(A4), ip_address(B4), 6, (1234, 80))
    ports = [(80, 0), (70, 90), (75, 95), (80, 443), (0, 0)]
    order = [key(protocol, *one) for protocol in (6, 0) for one in ports]
    assert find_vserver(packet, keys) == next((item for item in order if item in keys), None)
    without_ports = Packet(p.IPV4, (), ip_address(A4), ip_address(B4), 6, None, fragment=True, later=True)
    assert find_vserver(without_ports, keys) == next((item for item in (key(6, 0), key(0, 0)) if item in keys), None)
    assert find_vserver(Packet(p.IPV4, (), ip_address(A4), ip_address(A4), 6, (1, 80)), keys) is None
    assert find_vserver(Packet(p.IPV4, (), ip_address(A4), ip_address(B4), broken=True), keys) is None
