"""Whatever the frame: only what is for a VIP is forwarded, and nothing is changed that is not sent on."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dataplane.steps import Table
from dataplane.tables import ForwarderSettings, ProbeInKey, Reason, VServerKey
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, service_mac, whole_ring

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
CLIENT, VIP, OTHER = "192.0.2.1", "203.0.113.80", "203.0.113.99"
CLIENT6, VIP6, OTHER6 = "2001:db8::1", "2001:db8:80::80", "2001:db8:80::99"
VIPS = {ip_address(VIP).packed, ip_address(VIP6).packed}
PORTS = (40000, 80)
# BPF_PROG_TEST_RUN itself refuses frames without a whole IP header; shorter ones are sent for real elsewhere.
SHORTEST = {p.IPV4: 34, p.IPV6: 54}

SEEDS = [
    p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(CLIENT, VIP, p.TCP, p.tcp(CLIENT, VIP, PORTS, b"data"))),
    p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(CLIENT, VIP, p.UDP, p.udp(CLIENT, VIP, PORTS), options=bytes(40))),
    p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(CLIENT, OTHER, p.TCP, p.tcp(CLIENT, OTHER, PORTS))),
    p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(VIP, CLIENT, p.TCP, p.tcp(VIP, CLIENT, PORTS))),
    p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(VIP, CLIENT, p.ICMP, p.icmp(3, bytes(4) + bytes(28)))),
    p.ethernet(OWN_MAC, MAC, p.IPV6, p.ipv6(CLIENT6, VIP6, p.TCP, p.tcp(CLIENT6, VIP6, PORTS))),
    p.ethernet(
        OWN_MAC,
        MAC,
        p.IPV6,
        p.ipv6(CLIENT6, VIP6, 0, p.extension(43) + p.extension(60, 64) + p.extension(44) + bytes([6]) + bytes(40)),
    ),
    p.ethernet(OWN_MAC, MAC, p.IPV6, p.ipv6(CLIENT6, OTHER6, p.AH, p.authentication_header(17) + bytes(8))),
    p.ethernet(
        p.solicited_node(VIP6)[1],
        MAC,
        p.IPV6,
        p.ipv6(
            CLIENT6,
            p.solicited_node(VIP6)[0],
            p.ICMPV6,
            p.solicitation(CLIENT6, p.solicited_node(VIP6)[0], VIP6, b"\x01\x01" + MAC),
            hops=255,
        ),
    ),
    p.ethernet(p.BROADCAST, MAC, p.ARP, p.arp(1, MAC, CLIENT, bytes(6), VIP)),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A frame of the list with some octets changed, cut or lengthened; rarely nothing but noise."""
    if draw(st.integers(0, 9)) == 0:
        head = draw(st.sampled_from([OWN_MAC, p.BROADCAST, MAC])) + MAC
        kind = draw(st.sampled_from([p.IPV4, p.IPV6, p.ARP, 0x8100]))
        return head + struct.pack(">H", kind) + draw(st.binary(min_size=40, max_size=200))
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    for position, value in draw(st.lists(st.tuples(st.integers(0, len(frame) - 1), st.integers(0, 255)), max_size=5)):
        frame[position] = value
    size = draw(st.integers(-60, 20))
    return bytes(frame[: max(len(frame) + size, 14)]) + bytes(max(size, 0))


def is_for_a_vip(frame: bytes) -> bool:
    """Read on its own, and only what must hold: our MAC, an IP packet, a VIP as its destination."""
    kind = struct.unpack(">H", frame[12:14])[0]
    destination = frame[30:34] if kind == p.IPV4 else frame[38:54]
    version = {p.IPV4: 4, p.IPV6: 6}.get(kind)
    return frame[:6] == OWN_MAC and frame[14] >> 4 == version and destination in VIPS


@pytest.fixture
def ready(bench: Bench) -> Bench:
    """Both VIPs take everything, and one server answers probes."""
    for number, address in enumerate(map(ip_address, (VIP, VIP6)), start=1):
        bench.add_vserver(VServerKey(address, 0, 0), number, whole_ring(1))
        bench.add_vserver(VServerKey(address, p.TCP, 80), number, whole_ring(1))
    bench.put(Table.SETTINGS, 0, ForwarderSettings(probe_ifindex=1, probe_mac=EGRESS_MAC))
    bench.put(Table.PROBES_IN, ProbeInKey(ip_address(VIP), MAC), ip_address("198.18.0.1"))
    return bench


@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=damaged())
def test_no_frame_is_forwarded_unless_it_is_for_a_vip(ready: Bench, frame: bytes) -> None:
    kind = struct.unpack(">H", frame[12:14])[0]
    if len(frame) < SHORTEST.get(kind, 14):
        frame = frame.ljust(SHORTEST[kind], b"\0")
    done = ready.send(frame)
    event(done.reason.name)
    if done.reason is Reason.FORWARDED:
        assert is_for_a_vip(frame)
        assert done.frame == service_mac(1) + EGRESS_MAC + frame[12:]
    elif done.verdict == "redirect":
        assert done.reason in {Reason.ARP_ANSWERED, Reason.ND_ANSWERED, Reason.PROBE_ANSWERED}
    elif done.reason is not Reason.DROP_MALFORMED:  # a probe's answer may be given up half rewritten
        assert done.frame == frame
    if done.reason.name.startswith("DROP"):
        assert is_for_a_vip(frame) or frame[6:12] == MAC
