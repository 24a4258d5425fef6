"""The lab's network, made and looked at from outside: frames are sent and answers counted."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from dataplane.lab.confine import confined
from dataplane.lab.errors import LabError
from dataplane.lab.netns import NETNS_DIR, entered, open_socket
from dataplane.lab.topology import VIP4, VIP6, Node, Topology, ip

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("needs_root")]

ETH_P_ALL = 3
PATIENCE = 0.3  # seconds; an answer on the bridge takes well under a millisecond


def node(topology: Topology, name: str) -> Node:
    return next(one for one in topology.nodes if one.name == name)


def host_links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


@contextmanager
def tap(topology: Topology, name: str) -> Iterator[socket.socket]:
    with entered(topology.namespace(name)):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        raw.bind(("eth0", ETH_P_ALL))
    with raw:
        yield raw


def answers(raw: socket.socket, request: Packet, kind: type[Packet]) -> list[Packet]:
    """Everything of this kind that comes back to the request."""
    raw.send(bytes(request))
    found = []
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        raw.settimeout(left)
        try:
            data, address = raw.recvfrom(65536)
        except TimeoutError:
            break
        if address[2] != socket.PACKET_OUTGOING and kind in (frame := Ether(data)):
            found.append(frame)
    return found


def who_has(topology: Topology, target: str, mac: str = "ff:ff:ff:ff:ff:ff") -> list[str]:
    """MACs that answer the client's ARP request for ``target``."""
    client = node(topology, "client")
    request = ARP(op=1, hwsrc=client.mac, psrc=str(client.ipv4), pdst=target)
    with tap(topology, "client") as raw:
        frames = answers(raw, Ether(src=client.mac, dst=mac) / request, ARP)
    return [frame[ARP].hwsrc for frame in frames if frame[ARP].op == 2 and frame[ARP].psrc == target]


def solicit(topology: Topology, target: str, mac: str, destination: str) -> list[str]:
    """MACs that answer the client's neighbour solicitation for ``target``."""
    client = node(topology, "client")
    packet = IPv6(src=str(client.ipv6), dst=destination, hlim=255) / ICMPv6ND_NS(tgt=target)
    with tap(topology, "client") as raw:
        frame = Ether(src=client.mac, dst=mac) / packet / ICMPv6NDOptSrcLLAddr(lladdr=client.mac)
        frames = answers(raw, frame, ICMPv6ND_NA)
    return [frame.src for frame in frames if frame[ICMPv6ND_NA].tgt == target]


def solicit_in_every_way(topology: Topology, target: str) -> list[str]:
    """Ask as the standard says (RFC 4861), then all nodes, then each server in person."""
    tail = target.rpartition(":")[2].rjust(6, "0")
    group, mac = f"ff02::1:ff00:{tail[2:]}", f"33:33:ff:00:{tail[2:4]}:{tail[4:]}"
    found = solicit(topology, target, mac, group) + solicit(topology, target, "33:33:00:00:00:01", "ff02::1")
    for server in topology.servers:
        found += solicit(topology, target, server.mac, target)
    return found


def test_taking_the_network_down_leaves_nothing_and_the_host_never_has_an_interface(prefix: str) -> None:
    links = host_links()
    topology = Topology(prefix)
    topology.up()
    try:
        assert {name.name for name in NETNS_DIR.iterdir() if name.name.startswith(prefix)} == set(topology.namespaces)
        assert host_links() == links
    finally:
        removed = topology.down()
    assert removed == list(topology.namespaces)
    assert not [name for name in NETNS_DIR.iterdir() if name.name.startswith(prefix)]
    assert prefix not in Path("/proc/self/mountinfo").read_text()
    assert host_links() == links
    assert topology.down() == []


def test_a_namespace_of_somebody_else_is_named_and_left_alone(prefix: str) -> None:
    topology = Topology(prefix)
    ip("netns", "add", f"{prefix}director")
    try:
        with pytest.raises(LabError, match=f"{prefix}director exists already and was not made by this lab"):
            topology.up()
        assert topology.existing() == [f"{prefix}director"]
    finally:
        ip("netns", "delete", f"{prefix}director")


def test_a_network_that_fails_half_way_is_taken_back(prefix: str) -> None:
    first = Topology().nodes[0]
    second = dataclasses.replace(first, name="longer-than-an-interface-may-be")
    wrong = Topology(prefix, (first, second))
    with pytest.raises(LabError, match=r"The network could not be changed: `ip .* said: "):
        wrong.up()
    assert wrong.existing() == []


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_every_node_reaches_every_other_at_once(topology: Topology, family: socket.AddressFamily) -> None:
    for source in topology.nodes:
        for target in topology.nodes:
            address = target.ipv4 if family == socket.AF_INET else target.ipv6
            with open_socket(topology.namespace(source.name), family, socket.SOCK_STREAM) as client:
                client.settimeout(2)
                with pytest.raises(ConnectionRefusedError):  # the peer itself says that nobody listens
                    client.connect((str(address), 9))


def test_no_server_answers_arp_for_the_vip_so_that_the_director_can(topology: Topology) -> None:
    assert who_has(topology, str(topology.servers[0].ipv4)) == [topology.servers[0].mac]
    assert who_has(topology, str(VIP4)) == []
    for server in topology.servers:
        assert who_has(topology, str(VIP4), server.mac) == []
    ip("-n", topology.namespace("director"), "address", "add", f"{VIP4}/32", "dev", "eth0")
    assert who_has(topology, str(VIP4)) == [node(topology, "director").mac]


def test_no_server_answers_neighbour_solicitations_for_the_vip_so_that_the_director_can(topology: Topology) -> None:
    server = topology.servers[0]
    assert set(solicit_in_every_way(topology, str(server.ipv6))) == {server.mac}
    assert solicit_in_every_way(topology, str(VIP6)) == []
    ip("-n", topology.namespace("director"), "address", "add", f"{VIP6}/128", "dev", "eth0", "nodad")
    assert set(solicit_in_every_way(topology, str(VIP6))) == {node(topology, "director").mac}


def test_a_server_that_speaks_first_does_not_claim_the_vip(topology: Topology) -> None:
    server, client = topology.servers[0], node(topology, "client")
    namespace = topology.namespace(server.name)
    with tap(topology, "client") as raw, open_socket(namespace, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((str(VIP4), 0))  # as an answer to a client, which needs the client's MAC first
        sender.sendto(b"answer", (str(client.ipv4), 9))
        raw.settimeout(2)
        while ARP not in (frame := Ether(raw.recv(65536))) or frame[ARP].op != 1:
            continue
    assert frame[ARP].psrc == str(server.ipv4)


def test_a_server_serves_the_vip_to_whoever_sends_it_the_frame(topology: Topology) -> None:
    server = topology.servers[1]
    client = topology.namespace("client")
    for vip, family in ((VIP4, socket.AF_INET), (VIP6, socket.AF_INET6)):
        ip("-n", client, "neighbour", "add", str(vip), "lladdr", server.mac, "dev", "eth0")
        with (
            open_socket(topology.namespace(server.name), family, socket.SOCK_STREAM) as listener,
            open_socket(client, family, socket.SOCK_STREAM) as caller,
        ):
            listener.bind((str(vip), 80))
            listener.listen()
            caller.settimeout(2)
            caller.connect((str(vip), 80))
            listener.settimeout(2)
            connection, peer = listener.accept()
            connection.close()
            assert peer[:2] == caller.getsockname()[:2]


def test_the_hosts_strict_settings_do_not_leak_into_the_lab(topology: Topology) -> None:
    for one in topology.namespaces[1:]:
        with entered(one):
            assert Path("/proc/sys/net/ipv4/conf/eth0/rp_filter").read_text().strip() == "0"
            assert Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "0"
            assert Path("/proc/sys/net/ipv6/conf/eth0/accept_ra").read_text().strip() == "0"


def test_the_thread_comes_back_from_a_namespace_even_after_an_error(topology: Topology) -> None:
    here = Path("/proc/thread-self/ns/net")
    home = here.readlink()
    with entered(topology.switch):
        assert here.readlink() != home
    with pytest.raises(ZeroDivisionError), entered(topology.switch):
        _ = 1 // 0
    assert here.readlink() == home
    with pytest.raises(FileNotFoundError), entered("no-such-namespace"):
        pytest.fail("entered a namespace that is not there")


def test_unprivileged_programs_may_ping_from_the_director(topology: Topology) -> None:
    program = ("/usr/bin/python3", "-c", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)")
    command = confined(program, namespace=topology.namespace("director"), unprivileged=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
