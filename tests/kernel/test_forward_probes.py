"""Probes out and answers in: addresses, MACs and every checksum, as whole frames."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from dataplane.steps import Put, Table
from dataplane.tables import Count, ForwarderSettings, ProbeInKey, ProbeOut, Reason, VipFlag
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, Outcome

pytestmark = pytest.mark.kernel

SERVER_MAC, PROBE_MAC = bytes.fromhex("025e00000001"), bytes.fromhex("02bb000000ee")
DIRECTOR, VIP, PROBE = "192.0.2.10", "203.0.113.80", "198.18.0.7"
DIRECTOR6, VIP6, PROBE6 = "2001:db8::10", "2001:db8:80::80", "fd18::7"
PORTS, BACK = (40000, 80), (80, 40000)


@pytest.fixture
def probing(bench: Bench) -> Bench:
    bench.put(Table.SETTINGS, 0, ForwarderSettings(probe_ifindex=1, probe_mac=PROBE_MAC))
    for vip, probe in ((VIP, PROBE), (VIP6, PROBE6)):
        bench.put(Table.VIPS, ip_address(vip), VipFlag.PROTO_PORT)
        bench.put(Table.PROBES_OUT, ip_address(probe), ProbeOut(ip_address(vip), 1, SERVER_MAC, EGRESS_MAC))
        bench.put(Table.PROBES_IN, ProbeInKey(ip_address(vip), SERVER_MAC), ip_address(probe))
    return bench


def packets(source: str, destination: str, ports: tuple[int, int]) -> dict[str, tuple[int, bytes]]:
    """The same packets for any pair of addresses, each with right sums; name to frame type and packet."""
    if ip_address(source).version == 4:
        zero_sum = p.ipv4(source, destination, p.UDP, p.udp(source, destination, ports, b"data", summed=False))
        plain = {
            p.TCP: p.tcp(source, destination, ports, b"odd"),
            p.UDP: p.udp(source, destination, ports, b"odd"),
            p.UDPLITE: p.udplite(source, destination, ports, b"data"),
            p.DCCP: p.dccp(source, destination, ports),
            p.SCTP: p.sctp(ports),
            p.ICMP: p.icmp(8, b"ping"),
            p.ESP: bytes(20),
        }
        made = {f"protocol {n}": (p.IPV4, p.ipv4(source, destination, n, m)) for n, m in plain.items()}
        made["UDP without checksum"] = (p.IPV4, zero_sum)
        made["options"] = (p.IPV4, p.ipv4(source, destination, p.TCP, plain[p.TCP], options=b"\x01" * 8))
        made["first fragment"] = (p.IPV4, p.ipv4(source, destination, p.UDP, plain[p.UDP], more=True))
        made["later fragment"] = (p.IPV4, p.ipv4(source, destination, p.UDP, bytes(range(40)), offset=1480))
        return made
    plain = {
        p.TCP: p.tcp(source, destination, ports, b"odd"),
        p.UDP: p.udp(source, destination, ports, b"odd"),
        p.UDPLITE: p.udplite(source, destination, ports, b"data"),
        p.DCCP: p.dccp(source, destination, ports),
        p.SCTP: p.sctp(ports),
        p.ICMPV6: p.icmpv6(source, destination, 128, b"ping"),
    }
    made = {f"protocol {n}": (p.IPV6, p.ipv6(source, destination, n, m)) for n, m in plain.items()}
    made["extension header"] = (
        p.IPV6,
        p.ipv6(source, destination, p.DESTINATION, p.extension(p.TCP) + plain[p.TCP]),
    )
    first = p.fragment_header(p.UDP, 0, more=True) + plain[p.UDP]
    later = p.fragment_header(p.UDP, 1448, more=False) + bytes(range(40))
    made["first fragment"] = (p.IPV6, p.ipv6(source, destination, p.FRAGMENT, first))
    made["later fragment"] = (p.IPV6, p.ipv6(source, destination, p.FRAGMENT, later))
    return made


SENT = {**packets(DIRECTOR, PROBE, PORTS)}, {**packets(DIRECTOR6, PROBE6, PORTS)}
NAMES = [(4, name) for name in SENT[0]] + [(6, name) for name in SENT[1]]


@pytest.mark.parametrize(("version", "name"), NAMES)
def test_a_probe_goes_to_the_vip_on_its_server_with_right_checksums(probing: Bench, version: int, name: str) -> None:
    director, probe, vip = (DIRECTOR, PROBE, VIP) if version == 4 else (DIRECTOR6, PROBE6, VIP6)
    kind, packet = packets(director, probe, PORTS)[name]
    frame = p.ethernet(PROBE_MAC, PROBE_MAC, kind, packet)
    wanted = p.ethernet(SERVER_MAC, EGRESS_MAC, kind, packets(director, vip, PORTS)[name][1])
    assert probing.send(frame, probe=True) == Outcome("redirect", Reason.PROBE_SENT, wanted, Count(1, len(frame)))


@pytest.mark.parametrize(("version", "name"), NAMES)
def test_an_answer_comes_back_from_the_probe_address(probing: Bench, version: int, name: str) -> None:
    director, probe, vip = (DIRECTOR, PROBE, VIP) if version == 4 else (DIRECTOR6, PROBE6, VIP6)
    kind, packet = packets(vip, director, BACK)[name]
    frame = p.ethernet(OWN_MAC, SERVER_MAC, kind, packet)
    wanted = p.ethernet(PROBE_MAC, SERVER_MAC, kind, packets(probe, director, BACK)[name][1])
    assert probing.send(frame) == Outcome("redirect", Reason.PROBE_ANSWERED, wanted, Count(1, len(frame)))


def test_a_udp_sum_that_becomes_zero_is_sent_as_ffff(probing: Bench) -> None:
    """RFC 768: zero on the wire means that there is no checksum."""
    base = p.udp(DIRECTOR, VIP, PORTS, b"\0\0")
    sum_without = struct.unpack(">H", base[6:8])[0]
    data = struct.pack(">H", sum_without)
    wanted_message = p.udp(DIRECTOR, VIP, PORTS, data)
    assert wanted_message[6:8] == b"\xff\xff"
    packet = p.ipv4(DIRECTOR, PROBE, p.UDP, p.udp(DIRECTOR, PROBE, PORTS, data))
    done = probing.send(p.ethernet(PROBE_MAC, PROBE_MAC, p.IPV4, packet), probe=True)
    assert done.frame[14:] == p.ipv4(DIRECTOR, VIP, p.UDP, wanted_message)


@pytest.mark.parametrize(("kind", "code"), [(3, 3), (11, 0), (12, 0)])
def test_an_icmp_error_quotes_the_probe_as_it_was_sent(probing: Bench, kind: int, code: int) -> None:
    def error(source: str) -> bytes:
        quoted = p.ipv4(DIRECTOR, source, p.UDP, p.udp(DIRECTOR, VIP, PORTS, b"data"))
        return p.ipv4(source, DIRECTOR, p.ICMP, p.icmp(kind, bytes(4) + quoted, code))

    frame = p.ethernet(OWN_MAC, SERVER_MAC, p.IPV4, error(VIP))
    assert probing.send(frame).frame == p.ethernet(PROBE_MAC, SERVER_MAC, p.IPV4, error(PROBE))


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_an_icmpv6_error_quotes_the_probe_as_it_was_sent(probing: Bench, kind: int) -> None:
    def error(source: str) -> bytes:
        quoted = p.ipv6(DIRECTOR6, source, p.UDP, p.udp(DIRECTOR6, VIP6, PORTS, b"data"))
        return p.ipv6(source, DIRECTOR6, p.ICMPV6, p.icmpv6(source, DIRECTOR6, kind, bytes(4) + quoted))

    frame = p.ethernet(OWN_MAC, SERVER_MAC, p.IPV6, error(VIP6))
    assert probing.send(frame).frame == p.ethernet(PROBE_MAC, SERVER_MAC, p.IPV6, error(PROBE6))


def test_what_stands_for_no_server_is_dropped(probing: Bench) -> None:
    unmapped = p.ipv4(DIRECTOR, "198.18.0.8", p.TCP, p.tcp(DIRECTOR, "198.18.0.8", PORTS))
    multicast = p.ipv6("fe80::1", "ff02::2", p.ICMPV6, p.icmpv6("fe80::1", "ff02::2", 133, bytes(4)))
    request = p.arp(1, PROBE_MAC, DIRECTOR, bytes(6), PROBE)
    for kind, packet in ((p.IPV4, unmapped), (p.IPV6, multicast), (p.ARP, request)):
        frame = p.ethernet(p.BROADCAST, PROBE_MAC, kind, packet)
        done = probing.send(frame, probe=True)
        assert done == Outcome("drop", Reason.DROP_PROBE_UNMAPPED, frame, Count(1, len(frame)))


def test_a_malformed_probe_is_dropped(probing: Bench) -> None:
    packet = p.ipv4(DIRECTOR, PROBE, p.TCP, p.tcp(DIRECTOR, PROBE, PORTS), total_length=4000)
    done = probing.send(p.ethernet(PROBE_MAC, PROBE_MAC, p.IPV4, packet), probe=True)
    assert (done.verdict, done.reason) == ("drop", Reason.DROP_MALFORMED)


def test_the_vip_from_another_mac_is_no_answer(probing: Bench) -> None:
    packet = p.ipv4(VIP, DIRECTOR, p.TCP, p.tcp(VIP, DIRECTOR, BACK))
    frame = p.ethernet(OWN_MAC, bytes.fromhex("025e00000002"), p.IPV4, packet)
    assert probing.send(frame) == Outcome("pass", Reason.PASS_NOT_VIP, frame, Count(1, len(frame)))


def test_without_a_probe_device_nothing_is_an_answer(probing: Bench) -> None:
    packet = p.ipv4(VIP, DIRECTOR, p.TCP, p.tcp(VIP, DIRECTOR, BACK))
    frame = p.ethernet(OWN_MAC, SERVER_MAC, p.IPV4, packet)
    probing.maps.apply(Put(Table.SETTINGS, 0, ForwarderSettings()))
    assert probing.send(frame) == Outcome("pass", Reason.PASS_NOT_VIP, frame, Count(1, len(frame)))


def test_an_answer_cut_short_of_its_checksum_is_dropped(probing: Bench) -> None:
    packet = p.ipv4(VIP, DIRECTOR, p.TCP, p.tcp(VIP, DIRECTOR, BACK)[:12])
    done = probing.send(p.ethernet(OWN_MAC, SERVER_MAC, p.IPV4, packet))
    assert (done.verdict, done.reason) == ("drop", Reason.DROP_MALFORMED)
