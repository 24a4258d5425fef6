"""Frames for tests, byte by byte: builders return bytes with right lengths and checksums unless told otherwise."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

BROADCAST = b"\xff" * 6
ARP, IPV4, IPV6, VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
ICMP, TCP, UDP, DCCP, ICMPV6, SCTP, UDPLITE, ESP = 1, 6, 17, 33, 58, 132, 136, 50
HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION = 0, 43, 44, 51, 60


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    """RFC 9293, 3.1 and RFC 8200, 8.1."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    if ip_address(source).version == 4:
        return addresses + struct.pack(">BBH", 0, protocol, length)
    return addresses + struct.pack(">II", length, protocol)


def ethernet(destination: bytes, source: bytes, kind: int, payload: bytes) -> bytes:
    return destination + source + struct.pack(">H", kind) + payload


def arp(operation: int, sender_mac: bytes, sender: str, target_mac: bytes, target: str) -> bytes:
    """28 bytes, RFC 826."""
    addresses = sender_mac + IPv4Address(sender).packed + target_mac + IPv4Address(target).packed
    return struct.pack(">HHBBH", 1, IPV4, 6, 4, operation) + addresses


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    offset: int = 0,
    more: bool = False,
    ttl: int = 64,
    ident: int = 0x1234,
    total_length: int | None = None,
    header_words: int | None = None,
) -> bytes:
    """``offset`` of a fragment in bytes; ``total_length`` and ``header_words`` lie if given."""
    words = 5 + len(options) // 4 if header_words is None else header_words
    length = 20 + len(options) + len(payload) if total_length is None else total_length
    header = struct.pack(
        ">BBHHHBBH4s4s",
        4 << 4 | words,
        0,
        length,
        ident,
        (0x2000 if more else 0) | offset // 8,
        ttl,
        protocol,
        0,
        IPv4Address(source).packed,
        IPv4Address(destination).packed,
    )
    header += options
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ipv6(
    source: str, destination: str, next_header: int, payload: bytes, *, hops: int = 64, length: int | None = None
) -> bytes:
    size = len(payload) if length is None else length
    addresses = IPv6Address(source).packed + IPv6Address(destination).packed
    return struct.pack(">IHBB", 6 << 28, size, next_header, hops) + addresses + payload


def extension(next_header: int, size: int = 8) -> bytes:
    """Hop-by-hop, routing or destination options header, filled with PadN."""
    return struct.pack(">BBBB", next_header, size // 8 - 1, 1, size - 4) + bytes(size - 4)


def fragment_header(next_header: int, offset: int, *, more: bool, ident: int = 0x1234) -> bytes:
    return struct.pack(">BBHI", next_header, 0, offset | more, ident)


def authentication_header(next_header: int) -> bytes:
    """24 bytes, RFC 4302."""
    return struct.pack(">BBHII", next_header, 4, 0, 1, 1) + bytes(12)


def tcp(source: str, destination: str, ports: tuple[int, int], data: bytes = b"", *, flags: int = 2) -> bytes:
    """``flags`` as in RFC 9293, 3.1: FIN 1, SYN 2, RST 4, ACK 16."""
    header = struct.pack(">HHIIBBHHH", *ports, 1, 0, 5 << 4, flags, 65535, 0, 0)
    return _summed(source, destination, TCP, header + data, 16)


def udp(source: str, destination: str, ports: tuple[int, int], data: bytes = b"", *, summed: bool = True) -> bytes:
    message = struct.pack(">HHHH", *ports, 8 + len(data), 0) + data
    return _summed(source, destination, UDP, message, 6) if summed else message


def udplite(source: str, destination: str, ports: tuple[int, int], data: bytes = b"") -> bytes:
    return _summed(source, destination, UDPLITE, struct.pack(">HHHH", *ports, 0, 0) + data, 6)


def sctp(ports: tuple[int, int]) -> bytes:
    return struct.pack(">HHII", *ports, 1, 0)


def dccp(source: str, destination: str, ports: tuple[int, int]) -> bytes:
    return _summed(source, destination, DCCP, struct.pack(">HHBBHII", *ports, 4, 0, 0, 0, 0), 6)


def icmp(kind: int, body: bytes, code: int = 0) -> bytes:
    message = struct.pack(">BBH", kind, code, 0) + body
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def icmpv6(source: str, destination: str, kind: int, body: bytes, code: int = 0) -> bytes:
    return _summed(source, destination, ICMPV6, struct.pack(">BBH", kind, code, 0) + body, 2)


def solicitation(source: str, destination: str, target: str, options: bytes = b"", *, code: int = 0) -> bytes:
    """RFC 4861, 4.3; from ICMPv6 on."""
    return icmpv6(source, destination, 135, bytes(4) + IPv6Address(target).packed + options, code)


def advertisement(source: str, destination: str, target: str, mac: bytes, flags: int) -> bytes:
    """RFC 4861, 4.4; from ICMPv6 on."""
    body = struct.pack(">I", flags) + IPv6Address(target).packed + b"\x02\x01" + mac
    return icmpv6(source, destination, 136, body)


def solicited_node(address: str) -> tuple[str, bytes]:
    """Group of an address and the group's MAC (RFC 4291, 2.7.1 and RFC 2464, 7)."""
    low = IPv6Address(address).packed[13:]
    group = IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + low)
    return str(group), b"\x33\x33\xff" + low


def _summed(source: str, destination: str, protocol: int, message: bytes, offset: int) -> bytes:
    value = checksum(pseudo_header(source, destination, protocol, len(message)) + message)
    if value == 0 and protocol == UDP:
        value = 0xFFFF  # RFC 768: zero would mean "none"
    return message[:offset] + struct.pack(">H", value) + message[offset + 2 :]
