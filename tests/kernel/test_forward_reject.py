"""Packets to a vserver whose services are all down, and which says so: whole frame in, whole frame out."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, ip_address

import pytest

from dataplane.steps import Table
from dataplane.tables import Count, PolicyEntry, Reason, VServerFlag, VServerKey, WhenDown
from tests import packets as p
from tests.kernel.bench import OWN_MAC, Bench, Outcome, whole_ring

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
VIPS = {4: "203.0.113.80", 6: "2001:db8:80::80"}
CLIENTS = {4: "192.0.2.1", 6: "2001:db8::1"}
MASKS = {4: ip_address("255.255.255.255"), 6: ip_address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}
PORTS, BACK = (40000, 80), (80, 40000)
FIN, SYN, RST, PUSH, ACK = 1, 2, 4, 8, 16
BOTH = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def down(bench: Bench) -> Bench:
    """A vserver of ANY on each VIP without services, that rejects."""
    for number, version in enumerate((4, 6), 1):
        policy = PolicyEntry(100 + number, 60, 0, MASKS[version], when_down=WhenDown.REJECT)
        bench.add_vserver(VServerKey(ip_address(VIPS[version]), 0, 0), number, whole_ring(0), policy=policy)
    return bench


def frame(version: int, protocol: int, payload: bytes, *, source: str = "", mac: bytes = MAC) -> bytes:
    client = source or CLIENTS[version]
    if version == 4:
        return p.ethernet(OWN_MAC, mac, p.IPV4, p.ipv4(client, VIPS[4], protocol, payload))
    return p.ethernet(OWN_MAC, mac, p.IPV6, p.ipv6(client, VIPS[6], protocol, payload))


def segment(
    version: int,
    *,
    flags: int,
    sequence: int,
    acknowledged: int,
    data: bytes = b"",
    back: bool = False,
    window: int = 1000,
    options: bytes = b"",
) -> bytes:
    """TCP between client and VIP, with a right checksum."""
    ends = (CLIENTS[version], VIPS[version])
    source, destination = ends[::-1] if back else ends
    ports, words = (BACK if back else PORTS), 5 + len(options) // 4
    header = struct.pack(">HHIIBBHHH", *ports, sequence, acknowledged, words << 4, flags, window, 0, 0) + options
    total = p.checksum(p.pseudo_header(source, destination, p.TCP, len(header + data)) + header + data)
    return header[:16] + struct.pack(">H", total) + header[18:] + data


def reply(version: int, protocol: int, payload: bytes) -> bytes:
    """From the VIP to the client, to where the frame came from."""
    if version == 6:
        return p.ethernet(MAC, OWN_MAC, p.IPV6, p.ipv6(VIPS[6], CLIENTS[6], protocol, payload))
    service = 0xC0 if protocol == p.ICMP else 0
    addresses = IPv4Address(VIPS[4]).packed + IPv4Address(CLIENTS[4]).packed
    header = struct.pack(">BBHHHBBH", 0x45, service, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + addresses
    header = header[:10] + struct.pack(">H", p.checksum(header)) + header[12:]
    return p.ethernet(MAC, OWN_MAC, p.IPV4, header + payload)


def told(reason: Reason, answer: bytes) -> Outcome:
    return Outcome("redirect", reason, answer, Count(1, len(answer)))


def silent(sent: bytes) -> Outcome:
    return Outcome("drop", Reason.DROP_NO_SERVICE, sent, Count(1, len(sent)))


@BOTH
@pytest.mark.parametrize(
    ("flags", "data", "length"),
    [(SYN, b"", 1), (0, b"hello", 5), (SYN | FIN, b"", 2), (FIN, b"abc", 4), (SYN, bytes(1001), 1002)],
)
def test_a_segment_without_ack_is_reset_by_acknowledging_it(
    down: Bench, version: int, flags: int, data: bytes, length: int
) -> None:
    sent = segment(version, flags=flags, sequence=0xFFFFFFFE, acknowledged=77, data=data, options=b"\x01" * 8)
    wanted = segment(
        version, flags=RST | ACK, sequence=0, acknowledged=(0xFFFFFFFE + length) % (1 << 32), back=True, window=0
    )
    assert down.send(frame(version, p.TCP, sent)) == told(Reason.REJECTED_RST, reply(version, p.TCP, wanted))


@BOTH
@pytest.mark.parametrize("flags", [ACK, ACK | FIN, SYN | ACK, ACK | PUSH])
def test_a_segment_with_ack_is_reset_where_it_expects_to_go_on(down: Bench, version: int, flags: int) -> None:
    sent = segment(version, flags=flags, sequence=5, acknowledged=0xDEADBEEF, data=b"x")
    wanted = segment(version, flags=RST, sequence=0xDEADBEEF, acknowledged=0, back=True, window=0)
    assert down.send(frame(version, p.TCP, sent)) == told(Reason.REJECTED_RST, reply(version, p.TCP, wanted))


@BOTH
@pytest.mark.parametrize("padding", [0, 6])
def test_link_padding_counts_neither_as_data_nor_goes_back(down: Bench, version: int, padding: int) -> None:
    sent = frame(version, p.TCP, segment(version, flags=SYN, sequence=1, acknowledged=0)) + bytes(padding)
    wanted = segment(version, flags=RST | ACK, sequence=0, acknowledged=2, back=True, window=0)
    assert down.send(sent) == told(Reason.REJECTED_RST, reply(version, p.TCP, wanted))


def error(version: int, code: int, quoted: bytes) -> bytes:
    if version == 4:
        return reply(4, p.ICMP, p.icmp(3, bytes(4) + quoted, code))
    return reply(6, p.ICMPV6, p.icmpv6(VIPS[6], CLIENTS[6], 1, bytes(4) + quoted, code))


@BOTH
@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 127, 128, 129, 519, 520, 521, 1183, 1184, 1185, 1400])
def test_udp_gets_a_port_unreachable_that_quotes_as_much_as_fits(down: Bench, version: int, size: int) -> None:
    data = bytes(range(1, 256)) * 6
    sent = frame(version, p.UDP, p.udp(CLIENTS[version], VIPS[version], PORTS, data[:size]))
    most = 576 - 28 if version == 4 else 1280 - 48
    wanted = error(version, 3 if version == 4 else 4, sent[14 : 14 + most])
    assert len(wanted) - 14 <= (576 if version == 4 else 1280)
    assert down.send(sent + bytes(4)) == told(Reason.REJECTED_ICMP, wanted)


@BOTH
@pytest.mark.parametrize("protocol", [p.SCTP, p.DCCP, p.UDPLITE, p.ESP, 47])
def test_other_protocols_get_port_unreachable_if_they_have_ports_else_prohibited(
    down: Bench, version: int, protocol: int
) -> None:
    sent = frame(version, protocol, struct.pack(">HH", *PORTS) + bytes(24))
    ports = protocol not in {p.ESP, 47}
    code = (3 if ports else 13) if version == 4 else (4 if ports else 1)
    assert down.send(sent) == told(Reason.REJECTED_ICMP, error(version, code, sent[14:]))


def test_a_first_fragment_is_answered_and_a_later_one_is_not(down: Bench) -> None:
    body = p.udp(CLIENTS[4], VIPS[4], PORTS, bytes(40), summed=False)
    first = p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(CLIENTS[4], VIPS[4], p.UDP, body, more=True))
    later = p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(CLIENTS[4], VIPS[4], p.UDP, body, offset=48))
    assert down.send(first) == told(Reason.REJECTED_ICMP, error(4, 3, first[14:]))
    assert down.send(later) == silent(later)
    six = p.fragment_header(p.UDP, 0, more=True) + body
    first = p.ethernet(OWN_MAC, MAC, p.IPV6, p.ipv6(CLIENTS[6], VIPS[6], p.FRAGMENT, six))
    assert down.send(first) == told(Reason.REJECTED_ICMP, error(6, 4, first[14:]))


@BOTH
def test_nobody_answers_resets_pings_and_errors(down: Bench, version: int) -> None:
    icmp = p.ICMP if version == 4 else p.ICMPV6
    ends = CLIENTS[version], VIPS[version]
    packet = p.ipv4 if version == 4 else p.ipv6
    about = packet(ends[1], ends[0], p.TCP, p.tcp(ends[1], ends[0], BACK))
    messages = [(8 if version == 4 else 128, bytes(8)), (3 if version == 4 else 1, bytes(4) + about), (5, bytes(40))]
    for kind, body in messages:
        made = p.icmp(kind, body) if version == 4 else p.icmpv6(*ends, kind, body)
        sent = frame(version, icmp, made)
        assert down.send(sent) == silent(sent)
    for flags in (RST, RST | ACK, SYN | RST):
        sent = frame(version, p.TCP, segment(version, flags=flags, sequence=1, acknowledged=1))
        assert down.send(sent) == silent(sent)


@pytest.mark.parametrize(
    ("version", "source"),
    [(4, "224.0.0.1"), (4, "255.255.255.255"), (4, "0.0.0.0"), (4, VIPS[4]), (6, "ff02::1"), (6, "::"), (6, VIPS[6])],
)
@pytest.mark.parametrize("protocol", [p.TCP, p.UDP])
def test_what_comes_from_no_single_host_is_not_answered(down: Bench, version: int, source: str, protocol: int) -> None:
    made = p.tcp if protocol == p.TCP else p.udp
    sent = frame(version, protocol, made(source, VIPS[version], PORTS), source=source)
    assert down.send(sent) == silent(sent)
    sent = frame(version, protocol, made(CLIENTS[version], VIPS[version], PORTS), mac=bytes.fromhex("01005e000001"))
    assert down.send(sent) == silent(sent)


def test_segments_with_options_or_cut_headers_are_not_answered(down: Bench) -> None:
    whole = segment(4, flags=SYN, sequence=1, acknowledged=0)
    with_options = p.ipv4(CLIENTS[4], VIPS[4], p.TCP, whole, options=b"\x01" * 4)
    lying = whole[:12] + b"\xf0" + whole[13:]
    short = whole[:12] + b"\x40" + whole[13:]
    for packet in (
        with_options,
        p.ipv4(CLIENTS[4], VIPS[4], p.TCP, lying),
        p.ipv4(CLIENTS[4], VIPS[4], p.TCP, short),
        p.ipv4(CLIENTS[4], VIPS[4], p.TCP, whole[:19]),
        p.ipv4(CLIENTS[4], VIPS[4], p.TCP, whole, more=True),
    ):
        sent = p.ethernet(OWN_MAC, MAC, p.IPV4, packet)
        assert down.send(sent) == silent(sent)


@pytest.mark.parametrize("flags", [VServerFlag(0), VServerFlag.SESSIONS, VServerFlag.ROTATE | VServerFlag.PERSIST])
@pytest.mark.parametrize("when_down", [*WhenDown])
def test_only_who_wants_to_reject_does_and_only_while_no_service_is_there(
    bench: Bench, flags: VServerFlag, when_down: WhenDown
) -> None:
    key = VServerKey(ip_address(VIPS[4]), p.TCP, 80)
    policy = PolicyEntry(107, 60, 60, MASKS[4], when_down=when_down)
    sent = frame(4, p.TCP, segment(4, flags=SYN, sequence=1, acknowledged=0))
    bench.add_vserver(key, 7, whole_ring(0), flags=flags, policy=policy)
    expected = Reason.REJECTED_RST if when_down is WhenDown.REJECT else Reason.DROP_NO_SERVICE
    assert bench.send(sent).reason is expected
    bench.put(Table.RINGS, 7, whole_ring(3))
    assert bench.send(sent).reason is Reason.FORWARDED


def test_answers_are_not_more_than_the_limit(down: Bench) -> None:
    sent = frame(4, p.UDP, p.udp(CLIENTS[4], VIPS[4], PORTS))
    far = struct.pack("<Q", (1 << 63) - 1)
    for kind in range(2):
        down.forwarder.maps["rejections"].update(kind.to_bytes(4, "little"), far)
    assert down.send(sent) == silent(sent)
    segment_sent = frame(4, p.TCP, segment(4, flags=SYN, sequence=1, acknowledged=0))
    assert down.send(segment_sent) == silent(segment_sent)
