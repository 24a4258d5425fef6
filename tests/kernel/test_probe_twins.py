"""Two servers by their rows that are one machine: one MAC, one VIP, two probe addresses, and each gets its answers."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from dataplane.steps import Put, Table
from dataplane.tables import ForwarderSettings, ProbeInKey, ProbeOut
from tests.kernel.bench import inside, run
from tests.kernel.network import PORT, SERVERS, VIP, VIP6, Network, ask_tcp, ask_udp, mac, network
from tests.kernel.test_forward_network import ROUTES, configure

pytestmark = pytest.mark.kernel

VIPS = {4: VIP, 6: VIP6}
TWINS = {4: ("198.18.0.11", "198.18.0.12"), 6: ("fd18::11", "fd18::12")}
BOTH = [(version, number) for version in (4, 6) for number in (0, 1)]


@pytest.fixture(scope="module")
def net(object_file: Path) -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def kernel(net: Network, object_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A forwarder for which s1 is two servers."""
    mounted = tmp_path_factory.mktemp("bpffs")
    run("mount", "-t", "bpf", "bpf", str(mounted))
    try:
        with inside(net.namespace("director")):
            opened = open_kernel(object_file, mounted / "halfpipe", on_event=lambda: None)
            try:
                configure(opened, net)
                _add_twins(opened, net)
                yield opened
            finally:
                opened.close()
                remove_everything(mounted / "halfpipe")
    finally:
        run("umount", str(mounted))


def _add_twins(kernel: Kernel, net: Network) -> None:
    device = kernel.links.ensure_probe_device(ROUTES)
    director = net.ifindex("director")
    kernel.maps.apply(Put(Table.SETTINGS, 0, ForwarderSettings(b"k" * 16, device.ifindex, device.mac)))
    for version, twins in TWINS.items():
        vip = ip_address(VIPS[version])
        for twin in twins:
            kernel.maps.apply(
                Put(Table.PROBES_OUT, ip_address(twin), ProbeOut(vip, director, mac(SERVERS[0]), mac("director")))
            )
        kernel.maps.apply(Put(Table.PROBES_IN, ProbeInKey(vip, mac(SERVERS[0])), ip_address(twins[0])))


@pytest.mark.parametrize(("version", "number"), BOTH)
@pytest.mark.usefixtures("kernel")
def test_tcp_and_udp_answers_come_from_the_address_that_was_asked(net: Network, version: int, number: int) -> None:
    probe = TWINS[version][number]
    assert ask_tcp(net, "director", probe) == SERVERS[0]
    assert ask_udp(net, "director", probe, b"once") == SERVERS[0].encode() + b" once"
    large = os.urandom(4000)  # in fragments
    assert ask_udp(net, "director", probe, large) == SERVERS[0].encode() + b" " + large


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.usefixtures("kernel")
def test_two_probes_under_way_at_once_do_not_mix(net: Network, version: int) -> None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sockets = [net.socket("director", family, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        for one, probe in zip(sockets, TWINS[version], strict=True):
            one.connect((probe, PORT))
        for round_ in range(3):
            for number, one in enumerate(sockets):
                one.send(f"{round_} {number}".encode())
            for number, one in reversed(list(enumerate(sockets))):
                assert one.recv(100) == f"{SERVERS[0]} {round_} {number}".encode()
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize(("version", "number"), BOTH)
@pytest.mark.usefixtures("kernel")
def test_a_ping_is_answered_from_the_address_that_was_asked(net: Network, version: int, number: int) -> None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    probe, identifier = TWINS[version][number], 4711 + number
    with inside(net.namespace("director")):
        raw = socket.socket(family, socket.SOCK_RAW, protocol)
    with raw:
        raw.settimeout(3)
        message = struct.pack(">BBHHH", 8 if version == 4 else 128, 0, 0, identifier, 1) + b"ping"
        if version == 4:
            words = struct.unpack(f">{len(message) // 2}H", message)
            total = sum(words)
            total = (total & 0xFFFF) + (total >> 16)
            message = message[:2] + struct.pack(">H", ~total & 0xFFFF) + message[4:]
        raw.sendto(message, (probe, 0))
        while True:  # other ICMP, such as neighbour discovery, comes to the same socket
            data, peer = raw.recvfrom(1000)
            reply = data[20:] if version == 4 else data
            if reply[0] in {0, 129}:
                break
    assert (peer[0], reply[4:6]) == (probe, struct.pack(">H", identifier))


@pytest.mark.parametrize(("version", "number"), BOTH)
@pytest.mark.usefixtures("kernel")
def test_a_closed_udp_port_is_refused_at_once(net: Network, version: int, number: int) -> None:
    """The ICMP error finds the socket that asked by what it quotes."""
    with pytest.raises(ConnectionRefusedError) as refused:
        ask_udp(net, "director", TWINS[version][number], b"anybody?", port=9)
    assert refused.value.errno == errno.ECONNREFUSED


@pytest.mark.parametrize(("version", "number"), BOTH)
@pytest.mark.usefixtures("kernel")
def test_a_closed_tcp_port_is_refused_at_once(net: Network, version: int, number: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        ask_tcp(net, "director", TWINS[version][number], port=9)
