"""Configurations of a given size, and the network that they find: what every benchmark loads."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from socket import IPPROTO_TCP

from dataplane.bench.sandbox import EGRESS_IFINDEX, EGRESS_MAC, NEAR_IFINDEX, NEAR_MAC
from dataplane.desired import Configuration, DesiredState, ServiceConfig, VServerConfig, VServerOptions, resolve
from dataplane.ports import Interface, Neighbour
from dataplane.tables import HashField, IPAddress

HASH_KEY = bytes(range(16))
PORT = 80
_FIRST_VIP = {4: int(ip_address("10.0.1.0")), 6: int(ip_address("fd77::1:0"))}
_FIRST_SERVER = {4: int(ip_address("10.128.1.0")), 6: int(ip_address("fd78::1:0"))}
_EVERY_BIT = {4: ip_address("255.255.255.255"), 6: ip_address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}


@dataclass(frozen=True, slots=True)
class Size:
    """``vservers`` virtual servers of ``services`` services each; those of one of ``groups`` groups share theirs.

    ``protocol`` and ``port`` 0 make them ANY. With ``sessions`` the forwarder remembers flows.
    """

    vservers: int
    services: int
    groups: int
    version: int = 4
    protocol: int = IPPROTO_TCP
    port: int = PORT
    sessions: bool = False


def _address(first: int, number: int, version: int) -> IPAddress:
    return IPv4Address(first + number) if version == 4 else IPv6Address(first + number)


def vip(number: int, version: int = 4) -> IPAddress:
    """Address of vserver ``number``, from 0."""
    return _address(_FIRST_VIP[version], number, version)


def server(number: int, version: int = 4) -> IPAddress:
    """Address of server ``number``, from 0; all are behind the interface ``egress``."""
    return _address(_FIRST_SERVER[version], number, version)


def server_mac(number: int) -> bytes:
    """MAC address (6 bytes) of server ``number``; the last byte tells 256 of them apart."""
    return b"\x02\x5e\0" + (number >> 8).to_bytes(2, "big") + bytes([number & 0xFF])


def configuration(size: Size, *, down: frozenset[int] = frozenset(), revision: int = 1) -> Configuration:
    """``size.groups * size.services`` services in all, row ids from 1; those of ``down`` are not eligible."""
    groups = [
        tuple(_service(group * size.services + index, size, down) for index in range(size.services))
        for group in range(size.groups)
    ]
    vservers = tuple(
        VServerConfig(
            config_id=number + 1,
            name=f"vserver{number}",
            address=vip(number, size.version),
            protocol=size.protocol,
            port=size.port,
            hash_fields=HashField.SOURCE,
            mask=_EVERY_BIT[size.version],
            services=groups[number % size.groups],
            options=VServerOptions(sessions=True) if size.sessions else VServerOptions(),
        )
        for number in range(size.vservers)
    )
    return Configuration(revision=revision, hash_key=HASH_KEY, vservers=vservers, probes=())


def _service(number: int, size: Size, down: frozenset[int]) -> ServiceConfig:
    eligible = number + 1 not in down
    return ServiceConfig(
        config_id=number + 1,
        name=f"service{number}",
        address=server(number, size.version),
        weight=1,
        hash_identity=f"{server(number, size.version)} {size.port}",
        eligible=eligible,
        reason="" if eligible else "DOWN",
    )


def interfaces() -> tuple[Interface, ...]:
    """The director's two interfaces, as the sandbox has them."""
    near = (ip_interface("10.0.0.1/9"), ip_interface("fd77::1/64"))
    egress = (ip_interface("10.128.0.1/9"), ip_interface("fd78::1/64"))
    return (
        Interface(NEAR_IFINDEX, "near", NEAR_MAC, True, near),
        Interface(EGRESS_IFINDEX, "egress", EGRESS_MAC, True, egress),
    )


def neighbours(size: Size) -> dict[tuple[int, IPAddress], Neighbour]:
    """Every server's entry."""
    return {
        (EGRESS_IFINDEX, address): Neighbour(EGRESS_IFINDEX, address, server_mac(number), False)
        for number in range(size.groups * size.services)
        for address in [server(number, size.version)]
    }


def desired(size: Size, *, down: frozenset[int] = frozenset()) -> DesiredState:
    """The configuration, resolved."""
    return resolve(configuration(size, down=down), interfaces(), neighbours(size))


@dataclass(frozen=True, slots=True)
class Flow:
    """What identifies a client's connection."""

    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int = PORT

    def packed(self) -> bytes:
        """``struct flow`` of bpf/harness.bpf.c, 36 bytes."""
        ports = struct.pack(">HH", self.source_port, self.destination_port)
        return self.source.packed.rjust(16, b"\0") + self.destination.packed.rjust(16, b"\0") + ports


def flows(number: int, vservers: int, version: int = 4, *, seed: int = 1) -> list[Flow]:
    """Random clients, each of a random vserver; the same for the same seed."""
    chosen = random.Random(seed)  # noqa: S311 - nothing secret, and runs should be alike
    bits = 32 if version == 4 else 128
    made = []
    for _ in range(number):
        address = chosen.getrandbits(bits)
        source = IPv4Address(address) if version == 4 else IPv6Address(address)
        made.append(Flow(source, vip(chosen.randrange(vservers), version), chosen.randrange(1024, 65536)))
    return made


def frame(flow: Flow) -> bytes:
    """A TCP frame of 64 bytes with the FCS, 60 here (IPv6: 74); its checksums are zero."""
    tcp = struct.pack(">HHIIBBHHH", flow.source_port, flow.destination_port, 1, 1, 5 << 4, 0x10, 512, 0, 0)
    if flow.source.version == 4:
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, IPPROTO_TCP, 0)
        ether_type = b"\x08\x00"
    else:
        ip = struct.pack(">IHBB", 6 << 28, len(tcp), IPPROTO_TCP, 64)
        ether_type = b"\x86\xdd"
    packet = ip + flow.source.packed + flow.destination.packed + tcp
    return (NEAR_MAC + b"\x02\x77\0\0\0\x64" + ether_type + packet).ljust(60, b"\0")
