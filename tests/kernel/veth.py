"""A director and its segment as two namespaces joined by veth, prepared for XDP or not."""

from __future__ import annotations

import ctypes as c
import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

from dataplane.kernel.assemble import Kernel
from dataplane.steps import Put, Table
from dataplane.tables import (
    RING_SLOTS,
    ForwarderSettings,
    HashField,
    ServiceEntry,
    VipFlag,
    VServerEntry,
    VServerKey,
)
from tests import packets as p
from tests.kernel.bench import inside, run

DIRECTOR_MAC, PEER_MAC = bytes.fromhex("02de00000001"), bytes.fromhex("02de00000002")
OTHER_MAC = bytes.fromhex("02de00000011")  # of the director's second interface
CLIENT_MAC, SERVER_MAC = bytes.fromhex("02de000000c1"), bytes.fromhex("02de000000e1")
VIP, CLIENT, PORT = "203.0.113.80", "192.0.2.1", 8080
FULL = ip_address("255.255.255.255")
VSERVER_ROW = 101
_SIOCETHTOOL = 0x8946
_SET = {"gro": 0x2C, "tx": 0x17}  # ETHTOOL_SGRO, ETHTOOL_STXCSUM (linux/ethtool.h)


class Link:
    """Namespaces ``director`` and ``peer`` with the same interfaces, each joined to its namesake."""

    def __init__(self, stack: ExitStack, interfaces: tuple[str, ...]) -> None:
        self.names = {host: f"hpv{os.getpid()}{host}" for host in ("director", "peer")}
        for name in self.names.values():
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
        macs = {"eth0": (DIRECTOR_MAC, PEER_MAC), "eth1": (OTHER_MAC, bytes.fromhex("02de00000012"))}
        for name in interfaces:
            own, other = (mac.hex(":") for mac in macs[name])
            end = ("link", "add", name, "address", own, "type", "veth")
            self.ip("director", *end, "peer", "name", name, "address", other, "netns", self.names["peer"])
            for host in self.names:
                # IPv6 would send frames of its own
                with inside(self.names[host]):
                    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
                self.ip(host, "link", "set", name, "up")

    def ip(self, host: str, *command: str) -> str:
        return run("ip", "-n", self.names[host], *command)

    def ifindex(self, name: str = "eth0") -> int:
        return int(self.ip("director", "-o", "link", "show", name).split(":")[0])

    def offload(self, host: str, name: str, what: str, *, on: bool) -> None:
        """``ethtool -K name what on|off``."""
        value = c.create_string_buffer(struct.pack("=II", _SET[what], on), 8)
        request = struct.pack("@16sP16x", name.encode(), c.addressof(value))
        with inside(self.names[host]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)

    def prepare(self, *interfaces: str) -> None:
        """What the concepts say of XDP on veth: GRO on, so that both ends always poll; no unfinished checksums."""
        for name in interfaces:
            for host in self.names:
                self.offload(host, name, "gro", on=True)
            self.offload("peer", name, "tx", on=False)

    def packet_socket(self, host: str, name: str) -> socket.socket:
        with inside(self.names[host]):
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind((name, 3))
        made.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        return made


@contextmanager
def link(*interfaces: str) -> Iterator[Link]:
    with ExitStack() as stack:
        yield Link(stack, interfaces)


def configure(kernel: Kernel, made: Link, egress: str = "eth0") -> None:
    """One VIP for UDP and TCP over one server, which is reached by ``egress``; tc attached."""
    source = {"eth0": DIRECTOR_MAC, "eth1": OTHER_MAC}[egress]
    for put in (
        Put(Table.INTERFACES, made.ifindex(), DIRECTOR_MAC),
        Put(Table.SETTINGS, 0, ForwarderSettings(b"k" * 16)),
        Put(Table.SERVICES, 1, ServiceEntry(1, made.ifindex(egress), SERVER_MAC, source)),
        *(
            put
            for number, protocol in ((1, p.UDP), (2, p.TCP))
            for put in (
                Put(Table.RINGS, number, struct.pack("<H", 1) * RING_SLOTS),
                Put(
                    Table.VSERVERS,
                    VServerKey(ip_address(VIP), protocol, PORT),
                    VServerEntry(number, VSERVER_ROW - 1 + number, HashField.SOURCE, FULL),
                ),
            )
        ),
        Put(Table.VIPS, ip_address(VIP), VipFlag.ANSWER | VipFlag.PROTO_PORT),
    ):
        kernel.maps.apply(put)
    kernel.links.ensure_attached([item.ifindex for item in kernel.links.interfaces()])


def numbered(number: int, port: int = PORT) -> bytes:
    """A client's frame for the VIP that carries its number."""
    datagram = p.udp(CLIENT, VIP, (40000, port), struct.pack(">I", number))
    return p.ethernet(DIRECTOR_MAC, CLIENT_MAC, p.IPV4, p.ipv4(CLIENT, VIP, p.UDP, datagram))


class Stream(threading.Thread):
    """Sends numbered frames at an even pace from the peer's eth0 until stopped, at most ``limit``."""

    def __init__(self, made: Link, seconds_between: float = 0.0003, limit: int = 40_000) -> None:
        super().__init__(daemon=True)
        self._socket = made.packet_socket("peer", "eth0")
        self._between, self._limit = seconds_between, limit
        self._end = threading.Event()
        self.sent = 0

    def run(self) -> None:
        while not self._end.is_set() and self.sent < self._limit:
            self._socket.send(numbered(self.sent))
            self.sent += 1
            time.sleep(self._between)

    def stop(self) -> None:
        self._end.set()
        self.join()
        self._socket.close()


def arrived(opened: socket.socket) -> list[int]:
    """Numbers of the frames that came for the server so far, in order."""
    opened.settimeout(0.3)
    numbers: list[int] = []
    while True:
        try:
            frame, address = opened.recvfrom(2000)
        except TimeoutError:
            return numbers
        if address[2] != socket.PACKET_OUTGOING and frame[:6] == SERVER_MAC:
            numbers.append(struct.unpack(">I", frame[42:46])[0])
