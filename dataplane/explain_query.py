"""The question that explain answers: a frame, given as addresses and ports or byte by byte."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from dataplane.dissect import ETHERNET_SIZE, EXTENSIONS, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP, UDPLITE, WITH_PORTS
from dataplane.tables import IPAddress

PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "dccp": 33, "icmpv6": ICMPV6, "sctp": 132, "udplite": UDPLITE}
DEFAULT_SOURCE_PORT, DEFAULT_DESTINATION_PORT = 40000, 80
# The kernel runs programs on what fits into one page with its own bookkeeping (net/bpf/test_run.c).
MAX_FRAME = 3500
# From the block that RFC 7042, 2.1.2 keeps for examples: no table can know it.
CLIENT_MAC = bytes.fromhex("00005e0053c1")
_HOPS = 64
_SYN = 0x02
_WINDOW = 65535
_ECHO = {ICMP: 8, ICMPV6: 128}


class QueryError(ValueError):
    """A value that makes no frame; the message names the field, the value and the rule."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field}: {str(value)[:60]!r}: {rule}")


@dataclass(frozen=True, slots=True)
class Query:
    """A packet from a client: TCP as a SYN, UDP and others with a payload of zeros, ICMP as an echo request.

    Ports are 0 for protocols without any. With ``frame``, those bytes are asked about and all else is ignored.
    """

    source: IPAddress | None = None
    destination: IPAddress | None = None
    protocol: int = TCP
    source_port: int = 0
    destination_port: int = 0
    frame: bytes = b""


def parse_query(
    source: str, destination: str, protocol: str = "tcp", source_port: str | int = "", destination_port: str | int = ""
) -> Query:
    """Query from text; ports left empty are 40000 and 80 where the protocol has ports. Raises QueryError."""
    from_address, to_address = _address("from", source), _address("to", destination)
    if from_address.version != to_address.version:
        raise QueryError("from", source, f"must be IPv{to_address.version}, like the destination {to_address}")
    if from_address.is_multicast or from_address.is_unspecified:
        raise QueryError("from", source, "must be the address of one host")
    number = _protocol(protocol, to_address.version)
    if number not in WITH_PORTS:
        for field, value in (("sport", source_port), ("dport", destination_port)):
            if value != "":
                raise QueryError(field, value, f"protocol {protocol} has no ports; leave it out")
        return Query(from_address, to_address, number)
    return Query(
        from_address,
        to_address,
        number,
        _port("sport", source_port, DEFAULT_SOURCE_PORT),
        _port("dport", destination_port, DEFAULT_DESTINATION_PORT),
    )


def parse_frame(text: str) -> Query:
    """Query from hexadecimal digits, which spaces, colons and line ends may separate. Raises QueryError."""
    digits = "".join(text.replace(":", " ").split())
    try:
        frame = bytes.fromhex(digits)
    except ValueError:
        raise QueryError("frame", text, "must be pairs of hexadecimal digits") from None
    return frame_query(frame)


def frame_query(frame: bytes) -> Query:
    """Query about these very bytes, from the destination MAC on and without FCS. Raises QueryError."""
    if not ETHERNET_SIZE <= len(frame) <= MAX_FRAME:
        raise QueryError(
            "frame",
            frame.hex(),
            f"has {len(frame)} bytes; the kernel runs programs on frames of {ETHERNET_SIZE} to {MAX_FRAME} bytes",
        )
    return Query(frame=frame)


def build_frame(query: Query, own_mac: bytes, client_mac: bytes = CLIENT_MAC) -> bytes:
    """The whole Ethernet frame, with right lengths and checksums, to the director's ``own_mac`` (6 bytes).

    A query with a frame of its own gives that frame unchanged.
    """
    if query.frame:
        return query.frame
    if query.source is None or query.destination is None:
        raise QueryError("from", query.source, "addresses are needed unless a frame is given")
    payload = _summed(query, _payload(query))
    source, destination = query.source.packed, query.destination.packed
    if query.destination.version == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, _HOPS, query.protocol, 0)
        head = head[:10] + struct.pack(">H", checksum(head + source + destination)) + source + destination
    else:
        head = struct.pack(">IHBB", 6 << 28, len(payload), query.protocol, _HOPS) + source + destination
    kind = IPV4 if query.destination.version == 4 else IPV6
    return own_mac + client_mac + struct.pack(">H", kind) + head + payload


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _payload(query: Query) -> bytes:
    """Transport header and data, with checksums of zero."""
    ports = struct.pack(">HH", query.source_port, query.destination_port)
    if query.protocol == TCP:
        return ports + struct.pack(">IIBBHHH", 0, 0, 5 << 4, _SYN, _WINDOW, 0, 0)
    if query.protocol in (UDP, UDPLITE):
        return ports + struct.pack(">HH", 8, 0)
    if query.protocol in _ECHO:
        return bytes([_ECHO[query.protocol]]) + bytes(7)
    return ports + bytes(12) if query.protocol in WITH_PORTS else bytes(16)


def _summed(query: Query, payload: bytes) -> bytes:
    """With the transport checksum where this protocol has one that servers verify (RFC 9293, 768, 792, 4443)."""
    place = {TCP: 16, UDP: 6, UDPLITE: 6, ICMP: 2, ICMPV6: 2}.get(query.protocol)
    if place is None or query.source is None or query.destination is None:
        return payload
    pseudo = b""
    if query.protocol != ICMP:
        pseudo = query.source.packed + query.destination.packed + struct.pack(">II", len(payload), query.protocol)
    value = checksum(pseudo + payload)
    if value == 0 and query.protocol in (UDP, UDPLITE):
        value = 0xFFFF  # RFC 768: zero would mean "none"
    return payload[:place] + struct.pack(">H", value) + payload[place + 2 :]


def _address(field: str, text: str) -> IPAddress:
    try:
        address = ip_address(text.strip())
    except ValueError:
        raise QueryError(field, text, "must be an IPv4 or IPv6 address, without prefix length") from None
    if address.version == 6 and (address.scope_id or address.ipv4_mapped):
        raise QueryError(field, text, "must have no zone and must not be IPv4-mapped")
    return address


def _protocol(text: str, version: int) -> int:
    name = text.strip().lower()
    if name == "icmp":
        return ICMP if version == 4 else ICMPV6
    number = PROTOCOLS.get(name, int(name) if name.isascii() and name.isdigit() else -1)
    if not 0 <= number <= 255:
        raise QueryError("protocol", text, f"must be one of {', '.join(sorted(PROTOCOLS))} or a number from 0 to 255")
    if version == 6 and number in EXTENSIONS:
        raise QueryError("protocol", text, "is an extension header of IPv6; give the whole frame to ask about it")
    return number


def _port(field: str, value: str | int, default: int) -> int:
    if value == "":
        return default
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise QueryError(field, value, "must be a port number from 0 to 65535")
    return int(text)
