"""What a frame is, as the forwarder reads it (dataplane/bpf/parse.h), and which vserver it belongs to.

Written a second time in Python, for those that look at frames outside the kernel: explain and capture.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dataplane.port_ranges import narrowest
from dataplane.tables import IPAddress, VServerKey

ETHERNET_SIZE = 14
MACS_SIZE = 12
ARP, IPV4, VLAN, IPV6, QINQ = 0x0806, 0x0800, 0x8100, 0x86DD, 0x88A8
TAGS = (VLAN, QINQ)
ICMP, TCP, UDP, DCCP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 58, 132, 136
# These begin with source and destination port, 2 bytes each (RFC 9293, 768, 4340, 9260, 3828).
WITH_PORTS = frozenset({TCP, UDP, DCCP, SCTP, UDPLITE})
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION})
MAX_EXTENSION_HEADERS = 6
_PORTS = struct.Struct(">HH")


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame. ``vlans`` are the tags' ids, outermost first; ``kind`` is the Ethernet type behind them.

    ``source`` and ``destination`` are None for what is not IP, and when not even they can be read. ``ports`` are
    (source, destination), None without any. ``fragment`` is true for any fragment, ``later`` for one without the
    transport header; ``fragment_id`` is common to the fragments of one packet. ``broken``: headers contradict each
    other or end too early; then protocol and ports say nothing. ``transport`` is an offset in the frame.
    """

    kind: int
    vlans: tuple[int, ...] = ()
    source: IPAddress | None = None
    destination: IPAddress | None = None
    protocol: int = 0
    ports: tuple[int, int] | None = None
    fragment: bool = False
    later: bool = False
    fragment_id: int = 0
    broken: bool = False
    transport: int = 0


def dissect(frame: bytes) -> Packet:
    """Read a frame. Raises ValueError when it is shorter than an Ethernet header (14 bytes)."""
    if len(frame) < ETHERNET_SIZE:
        message = f"frame: {len(frame)} bytes: an Ethernet header alone has {ETHERNET_SIZE}"
        raise ValueError(message)
    (kind,) = struct.unpack_from(">H", frame, MACS_SIZE)
    start, vlans = ETHERNET_SIZE, []
    while kind in TAGS and len(frame) >= start + 4:
        tag, kind = struct.unpack_from(">HH", frame, start)
        vlans.append(tag & 0xFFF)
        start += 4
    if kind == IPV4:
        return _ipv4(frame, start, tuple(vlans))
    if kind == IPV6:
        return _ipv6(frame, start, tuple(vlans))
    return Packet(kind, tuple(vlans))


def _ipv4(frame: bytes, start: int, vlans: tuple[int, ...]) -> Packet:
    """RFC 791."""
    if len(frame) < start + 20 or frame[start] >> 4 != 4:
        return Packet(IPV4, vlans)
    source, destination = (IPv4Address(frame[start + at : start + at + 4]) for at in (12, 16))
    header = (frame[start] & 0xF) * 4
    total, identity, offset = struct.unpack_from(">HHH", frame, start + 2)
    if header < 20 or total < header or start + total > len(frame):
        return Packet(IPV4, vlans, source, destination, broken=True)
    later, transport, protocol = bool(offset & 0x1FFF), start + header, frame[start + 9]
    ports, broken = _ports(frame, protocol, transport, start + total, later=later)
    return Packet(
        IPV4,
        vlans,
        source,
        destination,
        protocol,
        ports,
        fragment=bool(offset & 0x3FFF),
        later=later,
        fragment_id=identity,
        broken=broken,
        transport=transport,
    )


def _ports(
    frame: bytes, protocol: int, transport: int, end: int, *, later: bool
) -> tuple[tuple[int, int] | None, bool]:
    """Ports, and whether they are missing. ``end`` is where the IP packet ends; link padding may follow."""
    if later or protocol not in WITH_PORTS:
        return None, False
    if transport + _PORTS.size > end:
        return None, True
    return _PORTS.unpack_from(frame, transport), False


def _ipv6(frame: bytes, start: int, vlans: tuple[int, ...]) -> Packet:
    """RFC 8200."""
    if len(frame) < start + 40 or frame[start] >> 4 != 6:
        return Packet(IPV6, vlans)
    source, destination = (IPv6Address(frame[start + at : start + at + 16]) for at in (8, 24))
    end = start + 40 + int.from_bytes(frame[start + 4 : start + 6], "big")
    if end > len(frame):
        return Packet(IPV6, vlans, source, destination, broken=True)
    walked = _walk(frame, start + 40, frame[start + 6])
    if walked is None or walked.transport > end:
        return Packet(IPV6, vlans, source, destination, broken=True)
    ports, broken = _ports(frame, walked.protocol, walked.transport, end, later=walked.later)
    return Packet(
        IPV6,
        vlans,
        source,
        destination,
        walked.protocol,
        ports,
        walked.fragment,
        walked.later,
        walked.fragment_id,
        broken,
        walked.transport,
    )


@dataclass(slots=True)
class _Walked:
    protocol: int
    transport: int
    fragment: bool = False
    later: bool = False
    fragment_id: int = 0


def _walk(frame: bytes, offset: int, following: int) -> _Walked | None:
    """Step over extension headers (RFC 8200, 4; AH: RFC 4302, 2.2); None when they end too early or are too many."""
    walked = _Walked(following, offset)
    for _ in range(MAX_EXTENSION_HEADERS):
        if walked.protocol not in EXTENSIONS:
            return walked
        if walked.transport + 4 > len(frame):
            return None
        kind, (following, size, fragment) = walked.protocol, struct.unpack_from(">BBH", frame, walked.transport)
        if kind == _FRAGMENT:
            # RFC 6946: neither offset nor more-flag: a whole packet in a fragment header
            walked.fragment |= bool(fragment & 0xFFF9)
            walked.later = bool(fragment & 0xFFF8)
            walked.fragment_id = int.from_bytes(frame[walked.transport + 4 : walked.transport + 8], "big")
            walked.transport += 8
        else:
            walked.transport += (size + 2) * 4 if kind == _AUTHENTICATION else (size + 1) * 8
        walked.protocol = following
        if walked.later:
            return walked
    return walked if walked.protocol not in EXTENSIONS else None


def find_vserver(packet: Packet, keys: Collection[VServerKey]) -> VServerKey | None:
    """The vserver of a packet, by the forwarder's precedence.

    (protocol, port), then (protocol, narrowest range), (protocol, any), (ANY, port), (ANY, narrowest range),
    (ANY, any). A packet without readable ports matches the vservers of any port only.
    """
    address = packet.destination
    if address is None or packet.broken:
        return None
    for protocol in (packet.protocol, 0):
        if packet.ports:
            port = packet.ports[1]
            ranges = (
                (key.port, key.port_end)
                for key in keys
                if key.port_end and (key.address, key.protocol) == (address, protocol)
            )
            exact, found = VServerKey(address, protocol, port), narrowest(ranges, port)
            if exact in keys:
                return exact
            if found is not None:
                return VServerKey(address, protocol, *found)
        if (any_port := VServerKey(address, protocol, 0)) in keys:
            return any_port
    return None


def without_macs(frame: bytes) -> bytes:
    """All that forwarding leaves alone: what follows the MACs and, if there are any, the VLAN tags."""
    start = MACS_SIZE
    while len(frame) >= start + 6 and int.from_bytes(frame[start : start + 2], "big") in TAGS:
        start += 4
    return frame[start:]
