"""Clients behind a router with a narrow hop, VIPs in and outside the director's subnets, servers on two of its NICs.

client ──── router ──┬── lan: director eth0, s1, s2
       1300          └── lan2: director eth1, s3
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.desired import Configuration, VServerConfig, VServerOptions
from dataplane.lab.server import BIG_FILE, SMALL_FILE, write_files
from dataplane.tables import HashField, Reason
from tests import packets as p
from tests.kernel.bench import inside
from tests.kernel.segments import Director, Segments, configuration, director, eventually, mac_of, segments, vserver
from tests.kernel.transfers import Http
from tests.monitors.kinds.places import public_folder

pytestmark = pytest.mark.kernel

NARROW = 1300
CLIENT = {4: "192.0.2.100", 6: "2001:db8:2::100"}
INSIDE = {4: "10.77.0.80", 6: "fd77::80"}  # of the director's subnet: asked for by ARP and ND
OUTSIDE = {4: "203.0.113.80", 6: "2001:db8:80::80"}  # of no subnet: routed to the director
NETS = {"lan": ("10.77.0.{}/24", "fd77::{}/64"), "lan2": ("10.78.0.{}/24", "fd78::{}/64")}
SERVERS = {"s1": ("lan", 21), "s2": ("lan", 22), "s3": ("lan2", 23)}
ECHO = 7
SESSIONLESS = VServerOptions()
BOTH_PORTS = HashField.SOURCE | HashField.SOURCE_PORT


def on(segment: str, number: int) -> list[str]:
    return [text.format(number) for text in NETS[segment]]


def servers(version: int) -> list[str]:
    return [on(segment, number)[version == 6].split("/")[0] for segment, number in SERVERS.values()]


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    with public_folder() as folder:
        write_files(folder)
        yield folder


@pytest.fixture(scope="module")
def net(object_file: Path, files: Path) -> Iterator[Segments]:
    stop = threading.Event()
    threads: list[threading.Thread] = []
    with segments() as made:
        made.add("client", "director")
        made.add("router", router=True)
        made.add(*SERVERS, vips=[*INSIDE.values(), *OUTSIDE.values()])
        made.wire(
            ("client", "eth0"),
            ("router", "out"),
            ("192.0.2.100/24", "2001:db8:2::100/64"),
            ("192.0.2.1/24", "2001:db8:2::1/64"),
        )
        made.ip("router", "link", "set", "out", "mtu", str(NARROW))
        for index, segment in enumerate(NETS):
            made.switch(segment)
            made.plug(segment, "router", segment, *on(segment, 1))
            made.plug(segment, "director", f"eth{index}", *on(segment, 10))
        for server, (segment, number) in SERVERS.items():
            made.plug(segment, server, "eth0", *on(segment, number))
        # What the client sends fits; it asks for segments that do not, so that somebody must tell the servers
        for network, gateway, size in (("0.0.0.0/0", "192.0.2.1", "1460"), ("::/0", "2001:db8:2::1", "1440")):
            made.route("client", network, "via", gateway, "mtu", str(NARROW), "advmss", size)
        for server, (segment, _number) in SERVERS.items():
            for network, gateway in zip(("0.0.0.0/0", "::/0"), on(segment, 1), strict=True):
                made.route(server, network, "via", gateway.split("/")[0])
        for vip, hop in zip(OUTSIDE.values(), on("lan", 10), strict=True):
            made.route("router", vip, "via", hop.split("/")[0])
        for server in SERVERS:
            made.serve_http(server, files)
            threads += [_echo(made, server, vip, stop) for vip in (*INSIDE.values(), *OUTSIDE.values())]
        for server in SERVERS:
            made.wait_for_listeners(server, "-tl", "sport = :80", number=1)
        try:
            yield made
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def _echo(made: Segments, server: str, vip: str, stop: threading.Event) -> threading.Thread:
    """Sends datagrams back, from the VIP, with the server's name in front."""
    with inside(made.namespace(server)):
        opened = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
    opened.settimeout(0.1)
    opened.bind((vip, ECHO))

    def serve() -> None:
        with opened:
            while not stop.is_set():
                try:
                    data, peer = opened.recvfrom(65536)
                except TimeoutError:
                    continue
                opened.sendto(server.encode() + data[2:], peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def loaded(net: Segments, object_file: Path, pin_dir: Path) -> Iterator[Director]:
    with director(net, "director", object_file, pin_dir) as made:
        yield made
    for host in ("router", *SERVERS):
        for family in ("-4", "-6"):
            net.ip(host, family, "route", "flush", "cache")


def rows(options: VServerOptions) -> Configuration:
    """Port 80 and the echo by source address and port, on the VIPs in and outside the subnets."""
    made: list[VServerConfig] = []
    for vips in (INSIDE, OUTSIDE):
        for version, vip in vips.items():
            for protocol, port in ((p.TCP, 80), (p.UDP, ECHO)):
                made.append(vserver(len(made) + 1, vip, servers(version), protocol, port, BOTH_PORTS, options))
    return configuration(*made)


def narrow_paths(net: Segments, version: int) -> set[str]:
    """Servers that have learned of the narrow hop."""
    client = CLIENT[version]
    return {server for server in SERVERS if f"mtu {NARROW}" in net.ip(server, "route", "get", client)}


@pytest.mark.parametrize("vips", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize(
    "options",
    [SESSIONLESS, VServerOptions(sessions=True), VServerOptions(sessions=True, rotate=True)],
    ids=["sessionless", "sessions", "turns"],
)
@pytest.mark.parametrize("version", [4, 6])
def test_a_narrow_hop_is_told_to_the_server_that_has_the_flow(  # noqa: PLR0917 - fixtures and parameters
    net: Segments, loaded: Director, files: Path, version: int, options: VServerOptions, vips: dict[int, str]
) -> None:
    loaded.follow(rows(options))
    whole, served = (files / BIG_FILE).read_bytes(), set[str]()
    assert not narrow_paths(net, version)
    for _ in range(40):
        transfer = Http(net.namespace("client"), CLIENT[version], vips[version], BIG_FILE)
        assert transfer.finish() == whole
        served.add(transfer.server)
        assert narrow_paths(net, version) == served
        if len(served) == len(SERVERS):
            break
    assert served == SERVERS.keys()
    assert not loaded.count(Reason.DROP_QUOTATION)


@pytest.mark.parametrize("vips", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize("sessions", [False, True], ids=["sessionless", "sessions"])
@pytest.mark.parametrize("version", [4, 6])
def test_fragmented_datagrams_arrive_whole_both_ways(
    net: Segments, loaded: Director, version: int, sessions: bool, vips: dict[int, str]
) -> None:
    loaded.follow(rows(VServerOptions(sessions=sessions)))
    sizes = [*enumerate([1, 1473, 3000, 9000, 20_000, 40_000, 60_000] * 3, start=41000)]
    answered = {echo(net, version, vips[version], port, size, tries=4) for port, size in sizes}
    assert answered == SERVERS.keys()
    if version == 6:
        # Routers mend nothing: they told each server, by an error that quotes its first fragment. Those about later
        # fragments name no ports, so they are for no server that could be told, and not needed.
        assert narrow_paths(net, version) == SERVERS.keys()
        assert loaded.count(Reason.DROP_FRAGMENT) > 0
    dropped = loaded.count(Reason.DROP_FRAGMENT)
    assert version == 6 or not dropped
    assert {echo(net, version, vips[version], port, size, tries=1) for port, size in sizes} == SERVERS.keys()
    assert loaded.count(Reason.DROP_FRAGMENT) == dropped


def echo(net: Segments, version: int, vip: str, port: int, size: int, *, tries: int) -> str:
    """Which server sent those random bytes back; asked again when nothing comes within a second."""
    data = os.urandom(size)
    with inside(net.namespace("client")):
        client = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.bind((CLIENT[version], port))
        client.connect((vip, ECHO))
        client.settimeout(1)
        for _ in range(tries):
            client.send(b"??" + data)
            try:
                answer = client.recv(65536)
            except TimeoutError:
                continue
            assert answer[2:] == data
            return answer[:2].decode()
    raise AssertionError(f"no answer to {size} bytes from port {port}")


def test_nobody_on_the_segments_is_told_of_a_vip_outside_their_subnets(net: Segments, loaded: Director) -> None:
    loaded.follow(rows(SESSIONLESS))
    for version in (4, 6):
        transfer = Http(net.namespace("client"), CLIENT[version], OUTSIDE[version], SMALL_FILE)
        assert len(transfer.finish()) == 1 << 20
    known = net.ip("router", "neigh", "show") + net.ip("router", "-6", "neigh", "show")
    assert not [vip for vip in OUTSIDE.values() if f"{vip} " in known]


def test_a_server_on_another_nic_is_reached_over_that_nic(net: Segments, loaded: Director) -> None:
    loaded.follow(rows(SESSIONLESS))
    routes = {entry.mac: (entry.ifindex, entry.source_mac) for entry in loaded.reconciler.observed.services.values()}
    indexes = {interface.name: interface.ifindex for interface in loaded.kernel.links.interfaces()}
    for server, nic in (("s1", "eth0"), ("s2", "eth0"), ("s3", "eth1")):
        assert routes[mac_of(server)] == (indexes[nic], mac_of("director", nic))
    seen: set[str] = set()

    def everybody_served() -> bool:
        seen.add(Http(net.namespace("client"), CLIENT[4], INSIDE[4], SMALL_FILE).server)
        return seen == SERVERS.keys()

    eventually(everybody_served)
