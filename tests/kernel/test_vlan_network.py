"""A director on a trunk: its VLAN interfaces have the program themselves, so a frame may leave by another VLAN.

VLAN 10: client, s3, router          VLAN 20: s1, s2, router          both: director, eth0.10 and eth0.20
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane.desired import Configuration, VServerConfig
from dataplane.lab.server import SMALL_FILE, write_files
from dataplane.tables import HashField, Reason
from tests import packets as p
from tests.kernel.bench import inside
from tests.kernel.segments import Director, Segments, configuration, director, eventually, mac_of, segments, vserver
from tests.kernel.transfers import Http
from tests.monitors.kinds.places import public_folder

pytestmark = pytest.mark.kernel

SUBNETS = {10: ("10.10.0.{}/24", "fd10::{}/64"), 20: ("10.20.0.{}/24", "fd20::{}/64")}
VLAN_OF = {"s1": 20, "s2": 20, "s3": 10}
NUMBER_OF = {"client": 100, "director": 10, "router": 1, "s1": 21, "s2": 22, "s3": 23}
VIPS = {10: ("10.10.0.80", "fd10::80"), 20: ("10.20.0.80", "fd20::80")}
BRIDGES = {10: "br10", 20: "br20"}
PORT = "direct-eth0"  # of the switch, to the director
INTERFACES = ("eth0", "eth0.10", "eth0.20")
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 1 << 4
ETH_P_ALL, SO_RCVBUFFORCE = 3, 33


def addresses(host: str, vlan: int) -> list[str]:
    return [text.format(NUMBER_OF[host]) for text in SUBNETS[vlan]]


def bare(host: str, vlan: int, version: int) -> str:
    return addresses(host, vlan)[version == 6].split("/")[0]


@pytest.fixture(scope="module")
def net(object_file: Path) -> Iterator[Segments]:
    with public_folder() as files, segments() as made:
        write_files(files)
        made.switch("switch", *BRIDGES.values())
        made.add("client", "director")
        made.add("router", router=True)
        made.add(*VLAN_OF, vips=[vip for pair in VIPS.values() for vip in pair])
        assert made.trunk("switch", "director", "eth0", BRIDGES) == PORT
        made.plug("switch", "client", "eth0", *addresses("client", 10), bridge=BRIDGES[10])
        for vlan in SUBNETS:
            made.vlan("director", "eth0", vlan, *addresses("director", vlan))
            made.plug("switch", "router", f"leg{vlan}", *addresses("router", vlan), bridge=BRIDGES[vlan])
        for server, vlan in VLAN_OF.items():
            made.plug("switch", server, "eth0", *addresses(server, vlan), bridge=BRIDGES[vlan])
            made.serve_http(server, files)
        for host in ("client", *VLAN_OF):
            for version, network in ((4, "0.0.0.0/0"), (6, "::/0")):
                made.route(host, network, "via", bare("router", VLAN_OF.get(host, 10), version))
        for server in VLAN_OF:
            made.wait_for_listeners(server, "-tl", "sport = :80", number=1)
        yield made


@pytest.fixture
def loaded(net: Segments, object_file: Path, pin_dir: Path) -> Iterator[Director]:
    for host in ("client", "router"):
        net.ip(host, "neigh", "flush", "all")
    with director(net, "director", object_file, pin_dir, INTERFACES) as made:
        yield made


def rows() -> Configuration:
    made: list[VServerConfig] = []
    for pair in VIPS.values():
        for version, vip in zip((4, 6), pair, strict=True):
            servers = [bare(server, vlan, version) for server, vlan in VLAN_OF.items()]
            made.append(vserver(len(made) + 1, vip, servers, fields=HashField.SOURCE | HashField.SOURCE_PORT))
    return configuration(*made)


@dataclass
class Trunk:
    """Frames of the trunk with their tags, as the switch's port had them; whole once the block has ended."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)

    def tags(self, source: bytes, destination: bytes, kind: int) -> set[int]:
        """Tags of frames between two MACs."""
        head = destination + source + struct.pack(">H", kind)
        return {tag for tag, frame in self.frames if frame.startswith(head)}

    def answers(self, vip: str) -> set[int]:
        """Tags of the director's ARP replies, or solicited advertisements, for the VIP."""
        packed = ip_address(vip).packed
        sent = [(tag, frame) for tag, frame in self.frames if frame[6:12] == mac_of("director")]
        if len(packed) == 4:
            return {tag for tag, f in sent if f[12:14] == b"\x08\x06" and f[20:22] == b"\0\x02" and f[28:32] == packed}
        return {
            tag for tag, f in sent if f[12:14] == b"\x86\xdd" and f[54] == 136 and f[58] & 0x40 and f[62:78] == packed
        }


@contextmanager
def watched_trunk(net: Segments) -> Iterator[Trunk]:
    """What goes over the cable between switch and director during the block (packet(7), PACKET_AUXDATA)."""
    trunk = Trunk()
    with inside(net.namespace("switch")):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        raw.bind((PORT, ETH_P_ALL))
    with raw:
        raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        yield trunk
        raw.settimeout(0.3)
        while True:
            try:
                frame, ancillary, _flags, _address = raw.recvmsg(2048, socket.CMSG_SPACE(20))
            except TimeoutError:
                return
            for _level, _kind, data in ancillary:
                status, _length, _captured, _mac, _net, tag, _protocol = struct.unpack("=IIIHHHH", data)
                trunk.frames.append((tag & 0xFFF if status & TP_STATUS_VLAN_VALID else 0, frame))


def fetch_from_everybody(net: Segments, vip: str) -> None:
    """A file from each server, by as many connections as that takes."""
    seen: set[str] = set()

    def everybody_served() -> bool:
        source = bare("client", 10, 6 if ":" in vip else 4)
        transfer = Http(net.namespace("client"), source, vip, SMALL_FILE)
        assert len(transfer.finish()) == 1 << 20
        seen.add(transfer.server)
        return seen == VLAN_OF.keys()

    eventually(everybody_served)


@pytest.mark.parametrize("version", [4, 6])
def test_a_frame_leaves_with_the_tag_of_its_servers_vlan(net: Segments, loaded: Director, version: int) -> None:
    """From VLAN 10 to VLAN 20 the tag changes; from VLAN 10 to VLAN 10 it is the same."""
    loaded.follow(rows())
    kind = p.IPV4 if version == 4 else p.IPV6
    with watched_trunk(net) as trunk:
        fetch_from_everybody(net, VIPS[10][version == 6])
    assert trunk.tags(mac_of("client"), mac_of("director"), kind) == {10}
    for server, vlan in VLAN_OF.items():
        assert trunk.tags(mac_of("director"), mac_of(server), kind) == {vlan}
    assert not [frame for _tag, frame in trunk.frames if frame[12:14] == b"\x81\x00"]  # no tag within a tag
    assert loaded.count()


@pytest.mark.parametrize("version", [4, 6])
def test_a_vip_is_answered_for_in_the_vlan_that_asks(net: Segments, loaded: Director, version: int) -> None:
    """The client asks in VLAN 10 itself; for the VIP of VLAN 20 its router asks there."""
    with watched_trunk(net) as trunk:
        loaded.follow(rows())
        for host in ("client", "router"):  # what the announcements told them
            net.ip(host, "neigh", "flush", "all")
        for vips in VIPS.values():
            fetch_from_everybody(net, vips[version == 6])
    for vlan, vips in VIPS.items():
        assert trunk.answers(vips[version == 6]) == {vlan}
    answered = Reason.ARP_ANSWERED if version == 4 else Reason.ND_ANSWERED
    assert loaded.count(answered) >= 2


def test_the_trunk_itself_passes_tagged_frames_on(net: Segments, loaded: Director) -> None:
    """The program is on eth0 too, and leaves them to eth0.10 and eth0.20."""
    loaded.follow(rows())
    names = {
        interface.name
        for interface in loaded.kernel.links.interfaces()
        if interface.ifindex in loaded.reconciler.attached
    }
    assert names == {*INTERFACES}
    fetch_from_everybody(net, VIPS[10][0])
    assert loaded.count(Reason.PASS_VLAN) >= loaded.count()
