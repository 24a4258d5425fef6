"""Frames that tell a link where addresses are now: ARP announcement and unsolicited neighbour advertisement."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_OVERRIDE = 0x20000000


def arp_announcement(mac: bytes, address: IPv4Address) -> bytes:
    """A request whose sender and target are ``address`` (RFC 5227, 3): 42 bytes."""
    arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + address.packed + bytes(6) + address.packed
    return _BROADCAST + mac + b"\x08\x06" + arp


def neighbour_advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """To all nodes, with override flag and target MAC (RFC 4861, 4.4 and 7.2.6): 86 bytes."""
    message = struct.pack(">BBHI", 136, 0, 0, _OVERRIDE) + address.packed + b"\x02\x01" + mac
    pseudo = address.packed + _ALL_NODES.packed + struct.pack(">II", len(message), 58)
    message = message[:2] + struct.pack(">H", internet_checksum(pseudo + message)) + message[4:]
    header = struct.pack(">IHBB", 6 << 28, len(message), 58, 255) + address.packed + _ALL_NODES.packed
    return _ALL_NODES_MAC + mac + b"\x86\xdd" + header + message


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
