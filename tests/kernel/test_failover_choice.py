"""Two directors that reconcile the same rows for themselves send every frame to the same server.

Their kernel ids differ: they have other histories, and meet the rows in another order. Only their own MACs may differ
in what they send.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dataplane.desired import Configuration, Ping, ServiceConfig, VServerConfig, VServerOptions
from dataplane.kernel import loader
from dataplane.kernel.libbpf import run_program
from dataplane.kernel.maps import KernelMaps
from dataplane.reconcile import Reconciler
from dataplane.snapshot import HASH_FIELDS
from dataplane.tables import IPAddress, Reason
from tests import packets as p
from tests.fakes import FakeLinks, FakeNeighbours
from tests.kernel.bench import inside, run

pytestmark = pytest.mark.kernel

FRAMES = 300
CLIENT_MAC = bytes.fromhex("02cc00000001")
OWN = b"\0own!\0"  # stands for a director's MAC when what two of them sent is compared
VIPS = {4: ("10.77.0.80", "10.77.0.81", "203.0.113.5"), 6: ("fd77::80", "2001:db8:5::5")}
SERVERS = {4: [f"10.77.0.{host}" for host in range(21, 29)], 6: [f"fd77::{host}" for host in range(21, 27)]}
PORTS = (0, 80, 443)
ROWS = count(1)  # no row returns, so that no flow of an earlier example is anybody's


@dataclass
class Director:
    """A loaded forwarder with a reconciler; network and neighbours are as a test says."""

    namespace: str
    mac: bytes
    ifindex: int
    forwarder: loader.Forwarder
    reconciler: Reconciler

    def follow(self, configuration: Configuration) -> None:
        """Until nothing is left to do: a new object may have to wait for an id of a leaving one."""
        for _ in range(4):
            done = self.reconciler.round(configuration)
            assert not done.error, done.error
            if not done.summary:
                return
        raise AssertionError(f"still something to do: {done.summary}")

    def send(self, packets: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Verdict and whole frame for each (Ethertype, packet), with this director's MAC written as OWN."""
        context = bytearray(192)
        struct.pack_into("=I", context, 40, self.ifindex)
        results = []
        with inside(self.namespace):
            for kind, packet in packets:
                frame = p.ethernet(self.mac, CLIENT_MAC, kind, packet)
                done = run_program(self.forwarder.ingress_fd, frame, bytes(context))
                ends = [OWN if mac == self.mac else mac for mac in (done.frame[:6], done.frame[6:12])]
                results.append((done.verdict, b"".join(ends) + done.frame[12:]))
        return results

    def forwarded(self) -> int:
        return KernelMaps(self.forwarder.maps).reasons()[Reason.FORWARDED].packets


@pytest.fixture(scope="module")
def directors(object_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Director, Director]]:
    """Two, each in a namespace of its own with pins of its own, and with interfaces of different MAC and index."""
    with ExitStack() as stack:
        yield _director(stack, object_file, tmp_path_factory, 1), _director(stack, object_file, tmp_path_factory, 2)


def _director(stack: ExitStack, object_file: Path, folders: pytest.TempPathFactory, number: int) -> Director:
    name, mac, ifindex = f"hpc{os.getpid()}-{number}", bytes([2, 0xAA, 0, 0, 0, number]), 40 + number
    run("ip", "netns", "add", name)
    stack.callback(run, "ip", "netns", "del", name)
    link = ("link", "add", "eth0", "index", str(ifindex), "address", mac.hex(":"))
    run("ip", "-n", name, *link, "type", "veth", "peer", "name", "eth1")
    mounted = folders.mktemp("bpffs")
    run("mount", "-t", "bpf", "bpf", str(mounted))
    stack.callback(run, "umount", str(mounted))
    forwarder = loader.load(object_file, mounted / "halfpipe")
    stack.callback(forwarder.close)
    links = FakeLinks()
    links.add(ifindex, "eth0", mac, f"10.77.0.{number}/24", f"fd77::{number}/64")
    hosts = {
        (ifindex, ip_address(text)): b"\x02\x5e\0" + bytes([version, 0, index])
        for version, texts in SERVERS.items()
        for index, text in enumerate(texts)
    }
    maps = KernelMaps(forwarder.maps)
    return Director(
        name, mac, ifindex, forwarder, Reconciler(maps, links, FakeNeighbours(hosts), None, (), sleep=lambda _: None)
    )


@st.composite
def vservers(draw: st.DrawFn, version: int) -> VServerConfig:
    """One with any hash method, mask and weights; some services DOWN."""
    chosen = draw(st.lists(st.sampled_from(SERVERS[version]), unique=True, max_size=6))
    protocol, port = draw(st.sampled_from([0, 0, 6, 17])), draw(st.sampled_from(PORTS))
    bits = 32 if version == 4 else 128
    mask = ip_network(f"{'0.0.0.0' if version == 4 else '::'}/{draw(st.integers(bits // 2, bits))}").netmask
    number = next(ROWS)
    return VServerConfig(
        config_id=number,
        name=f"v{number}",
        address=ip_address(draw(st.sampled_from(VIPS[version]))),
        protocol=protocol,
        port=port,
        hash_fields=draw(st.sampled_from([*HASH_FIELDS.values()])),
        mask=mask,
        services=tuple(_service(text, port, draw(st.integers(1, 100)), draw(st.integers(0, 5)) > 0) for text in chosen),
        options=VServerOptions(ping=draw(st.sampled_from(Ping)), sessions=draw(st.booleans())),
    )


def _service(address: str, port: int, weight: int, eligible: bool) -> ServiceConfig:
    reason = "" if eligible else "DOWN: no answer"
    return ServiceConfig(next(ROWS), f"s{address}", ip_address(address), weight, f"{address} {port}", eligible, reason)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    found = {}
    for version in draw(st.lists(st.sampled_from([4, 6]), min_size=1, max_size=6)):
        made = draw(vservers(version))
        found[made.address, made.protocol, made.port] = made
    return Configuration(1, draw(st.binary(min_size=16, max_size=16)), tuple(found.values()), ())


def shuffled(configuration: Configuration, chosen: random.Random) -> Configuration:
    """The same rows as another director might read them: in another order."""
    order = [
        replace(one, services=tuple(chosen.sample(one.services, len(one.services)))) for one in configuration.vservers
    ]
    chosen.shuffle(order)
    return replace(configuration, vservers=tuple(order))


def random_packet(chosen: random.Random) -> tuple[int, bytes]:
    """Ethertype and a packet to a VIP: TCP, UDP or another protocol, whole or in fragments, or an error about one."""
    version = chosen.choice([4, 6])
    source = _client(chosen, version)
    vip = chosen.choice(VIPS[version]) if chosen.random() < 0.95 else SERVERS[version][0]
    ports = chosen.randrange(1, 65536), chosen.choice([80, 443, 5001])
    kind = chosen.choice(["tcp", "tcp", "udp", "other", "first", "later", "error", "ping"])
    if kind == "tcp":
        return _ip(version, source, vip, p.TCP, p.tcp(source, vip, ports, b"x" * chosen.randrange(40), flags=16))
    if kind == "udp":
        return _ip(version, source, vip, p.UDP, p.udp(source, vip, ports, b"y" * chosen.randrange(40)))
    if kind == "other":
        return _ip(version, source, vip, chosen.choice([p.ESP, 47, 4]), chosen.randbytes(20))
    if kind in {"error", "ping"}:
        return _icmp(version, source, vip, ports if kind == "error" else None, router=_client(chosen, version))
    return _fragment(version, source, vip, ports, later=kind == "later")


def _icmp(version: int, source: str, vip: str, ports: tuple[int, int] | None, *, router: str) -> tuple[int, bytes]:
    """A ping; or, with ports of the client's packet, an error of a router about the answer to it."""
    if ports is None:
        body = bytes(4) + b"ping"
        message = p.icmp(8, body) if version == 4 else p.icmpv6(source, vip, 128, body)
        return _ip(version, source, vip, p.ICMP if version == 4 else p.ICMPV6, message)
    _, quoted = _ip(version, vip, source, p.TCP, p.tcp(vip, source, ports[::-1], flags=16))
    if version == 4:
        return _ip(4, router, vip, p.ICMP, p.icmp(3, struct.pack(">HH", 0, 1300) + quoted, code=4))
    return _ip(6, router, vip, p.ICMPV6, p.icmpv6(router, vip, 2, struct.pack(">I", 1300) + quoted))


def _client(chosen: random.Random, version: int) -> str:
    if version == 4:
        return str(IPv4Address(chosen.randrange(1 << 24, 0xE0000000)))
    return str(IPv6Address(0x2001 << 112 | chosen.getrandbits(112)))


def _ip(version: int, source: str, vip: str, protocol: int, body: bytes) -> tuple[int, bytes]:
    if version == 4:
        return p.IPV4, p.ipv4(source, vip, protocol, body)
    return p.IPV6, p.ipv6(source, vip, protocol, body)


def _fragment(version: int, source: str, vip: str, ports: tuple[int, int], *, later: bool) -> tuple[int, bytes]:
    body = p.udp(source, vip, ports, bytes(40), summed=False)
    if version == 4:
        return p.IPV4, p.ipv4(source, vip, p.UDP, body, offset=48 * later, more=True)
    header = p.fragment_header(p.UDP, 48 * later, more=True)
    return p.IPV6, p.ipv6(source, vip, p.FRAGMENT, header + body)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(former=configurations(), configuration=configurations(), seed=st.integers(0, 1 << 32))
def test_two_directors_send_the_same_frames_to_the_same_servers(
    directors: tuple[Director, Director], former: Configuration, configuration: Configuration, seed: int
) -> None:
    chosen = random.Random(seed)
    one, other = directors
    one.follow(configuration)
    other.follow(former)  # what it served before has taken kernel ids
    other.follow(shuffled(configuration, chosen))
    packets = [random_packet(chosen) for _ in range(FRAMES)]
    before = one.forwarded(), other.forwarded()
    for packet, mine, theirs in zip(packets, one.send(packets), other.send(packets), strict=True):
        assert mine == theirs, packet
    counted = one.forwarded() - before[0], other.forwarded() - before[1]
    assert counted[0] == counted[1]
    event("some frames were forwarded" if counted[0] else "no frame was forwarded")


def _every_method() -> Configuration:
    """Each hash method with TCP port 80 and any port, over all servers, with weights, both families."""
    made = []
    for version, vips in VIPS.items():
        for number, fields in enumerate(HASH_FIELDS.values()):
            services = tuple(_service(text, 0, 1 + 7 * index, True) for index, text in enumerate(SERVERS[version]))
            full: IPAddress = ip_address(b"\xff" * (4 if version == 4 else 16))
            vip = ip_address(vips[number % 2])
            protocol, port = (6, 80) if number < 2 else (0, 0)
            made.append(VServerConfig(next(ROWS), f"v{version}{number}", vip, protocol, port, fields, full, services))
    return Configuration(1, bytes(range(16)), tuple(made), ())


def test_with_every_method_thousands_of_frames_reach_every_server_alike(directors: tuple[Director, Director]) -> None:
    chosen = random.Random(7)
    one, other = directors
    configuration = _every_method()
    one.follow(configuration)
    other.follow(_every_method())  # other rows, which take kernel ids
    other.follow(shuffled(configuration, chosen))
    ids = [_ids(one), _ids(other)]
    assert ids[0].keys() == ids[1].keys()
    assert all(ids[0][row] != ids[1][row] for row in ids[0])
    packets = [random_packet(chosen) for _ in range(5000)]
    mine, theirs = one.send(packets), other.send(packets)
    assert mine == theirs
    reached = {frame[:6] for verdict, frame in mine if verdict == 7 and frame[6:12] == OWN}
    assert reached >= {entry.mac for entry in one.reconciler.observed.services.values()}


def _ids(director: Director) -> dict[int, int]:
    """Kernel id by row of each service."""
    return {entry.config_id: number for number, entry in director.reconciler.observed.services.items()}


def test_another_hash_key_would_show(directors: tuple[Director, Director]) -> None:
    """That the comparison can fail: directors of two installations do not choose alike."""
    one, other = directors
    configuration = _every_method()
    one.follow(configuration)
    other.follow(replace(configuration, hash_key=b"another key, 16B"))
    packets = [random_packet(random.Random(number)) for number in range(500)]
    assert one.send(packets) != other.send(packets)
