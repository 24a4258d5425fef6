"""Real traffic between network namespaces: forwarding, probes, and what outlives the process."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from dataplane.kernel.libbpf import program_info
from dataplane.plan import plan
from dataplane.port_ranges import port_prefixes
from dataplane.ports import ProbeRoute
from dataplane.steps import Put, Table
from dataplane.tables import (
    RING_SLOTS,
    ForwarderSettings,
    HashField,
    PolicyEntry,
    ProbeInKey,
    ProbeOut,
    Reason,
    ServiceEntry,
    Tables,
    VipFlag,
    VServerEntry,
    VServerKey,
    WhenDown,
)
from tests import packets as p
from tests.kernel.bench import ROOT, inside, run
from tests.kernel.network import PORT, SERVERS, VIP, VIP6, Network, address, ask_tcp, ask_udp, mac, network

pytestmark = pytest.mark.kernel

ROUTES = [
    ProbeRoute("198.18.0.0/15", ip_address(address("director"))),
    ProbeRoute("fd18::/64", ip_address(address("director", 6))),
]
PROBES = {4: "198.18.0.{}", 6: "fd18::{}"}
VIPS = {4: VIP, 6: VIP6}


@pytest.fixture(scope="module")
def net(object_file: Path) -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture
def kernel(net: Network, object_file: Path, pin_dir: Path) -> Iterator[Kernel]:
    """The forwarder in the director's namespace; gone afterwards."""
    with inside(net.namespace("director")):
        opened = open_kernel(object_file, pin_dir, on_event=lambda: None)
        try:
            yield opened
        finally:
            opened.close()
            remove_everything(pin_dir)
    for host in ("client", *SERVERS):
        net.ip(host, "neigh", "flush", "all")


def configure(kernel: Kernel, net: Network) -> None:
    """Both VIPs, TCP and UDP, over the three servers in turn; attach."""
    director = net.ifindex("director")
    puts = [Put(Table.INTERFACES, director, mac("director")), Put(Table.SETTINGS, 0, ForwarderSettings(b"k" * 16))]
    for number, server in enumerate(SERVERS, start=1):
        puts.append(Put(Table.SERVICES, number, ServiceEntry(number, director, mac(server), mac("director"))))
    ring = struct.pack(f"<{RING_SLOTS}H", *(1 + slot % 3 for slot in range(RING_SLOTS)))
    number = 0
    for vip in VIPS.values():
        full = ip_address("255.255.255.255" if vip == VIP else ":".join(["ffff"] * 8))
        for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            number += 1
            key = VServerKey(ip_address(vip), protocol, PORT)
            entry = VServerEntry(number, number, HashField.SOURCE | HashField.SOURCE_PORT, full)
            puts += [Put(Table.RINGS, number, ring), Put(Table.VSERVERS, key, entry)]
        puts.append(Put(Table.VIPS, ip_address(vip), VipFlag.ANSWER | VipFlag.PROTO_PORT))
    for put in puts:
        kernel.maps.apply(put)
    kernel.links.ensure_solicited(director, [ip_address(vip) for vip in VIPS.values()])
    kernel.links.ensure_attached([director])


def add_probes(kernel: Kernel, net: Network) -> None:
    device = kernel.links.ensure_probe_device(ROUTES)
    director = net.ifindex("director")
    kernel.maps.apply(Put(Table.SETTINGS, 0, ForwarderSettings(b"k" * 16, device.ifindex, device.mac)))
    for version, vip in VIPS.items():
        for number, server in enumerate(SERVERS, start=1):
            probe = ip_address(PROBES[version].format(number))
            out = ProbeOut(ip_address(vip), director, mac(server), mac("director"))
            kernel.maps.apply(Put(Table.PROBES_OUT, probe, out))
            kernel.maps.apply(Put(Table.PROBES_IN, ProbeInKey(ip_address(vip), mac(server)), probe))


@pytest.mark.parametrize("version", [4, 6])
def test_connections_spread_over_the_servers_which_see_and_answer_the_client(
    net: Network, kernel: Kernel, version: int
) -> None:
    configure(kernel, net)
    for seen in net.seen.values():
        seen.clear()
    names = [ask_tcp(net, "client", VIPS[version]) for _ in range(40)]
    assert set(names) == set(SERVERS)
    assert {peer for seen in net.seen.values() for peer in seen} == {address("client", version)}
    counters = kernel.maps.counters()
    answered = Reason.ARP_ANSWERED if version == 4 else Reason.ND_ANSWERED
    assert counters.reasons[answered].packets >= 1
    vserver = counters.vservers[1 if version == 4 else 3]
    assert vserver.packets >= 40 * 4  # SYN, two ACKs and FIN at least
    assert sum(counters.services[number].packets for number in (1, 2, 3)) == vserver.packets
    assert sum(counters.services[number].bytes for number in (1, 2, 3)) == vserver.bytes
    assert counters.reasons[Reason.FORWARDED] == vserver


@pytest.mark.parametrize("version", [4, 6])
def test_the_servers_answers_do_not_pass_the_director(net: Network, kernel: Kernel, version: int) -> None:
    configure(kernel, net)
    for _ in range(10):
        assert ask_udp(net, "client", VIPS[version], b"x" * 1000).endswith(b"x" * 1000)
    vserver = kernel.maps.counters().vservers[2 if version == 4 else 4]
    header = 14 + (20 if version == 4 else 40) + 8
    assert (vserver.packets, vserver.bytes) == (10, 10 * (header + 1000))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_probe_address_reaches_its_own_server_on_the_vip(
    net: Network, kernel: Kernel, version: int, number: int
) -> None:
    configure(kernel, net)
    add_probes(kernel, net)
    target = PROBES[version].format(number)
    before = len(net.seen[f"s{number}"])
    assert [ask_tcp(net, "director", target) for _ in range(3)] == [f"s{number}"] * 3
    assert net.seen[f"s{number}"][before:] == [address("director", version)] * 3
    data = os.urandom(4096)  # three fragments each way
    assert ask_udp(net, "director", target, data) == f"s{number} ".encode() + data
    family = ["-6"] if version == 6 else []
    run("ip", "netns", "exec", net.namespace("director"), "ping", *family, "-c", "2", "-i", "0.2", "-W", "2", target)
    counters = kernel.maps.counters()
    assert counters.reasons[Reason.PROBE_SENT].packets > 0
    assert counters.reasons[Reason.PROBE_ANSWERED].packets > 0
    assert all(count.packets == 0 for count in counters.vservers.values())


@pytest.mark.parametrize("version", [4, 6])
def test_a_closed_port_is_refused_at_once(net: Network, kernel: Kernel, version: int) -> None:
    configure(kernel, net)
    add_probes(kernel, net)
    with pytest.raises(ConnectionRefusedError):
        ask_tcp(net, "director", PROBES[version].format(1), PORT + 1)
    with pytest.raises(ConnectionRefusedError):  # an ICMP error that quotes the probe
        ask_udp(net, "director", PROBES[version].format(1), b"data", PORT + 1)


def test_an_unmapped_probe_address_leads_nowhere(net: Network, kernel: Kernel) -> None:
    configure(kernel, net)
    add_probes(kernel, net)
    before = kernel.maps.reasons()[Reason.DROP_PROBE_UNMAPPED].packets
    with net.socket("director", socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.connect(("198.18.0.99", PORT))
    assert kernel.maps.reasons()[Reason.DROP_PROBE_UNMAPPED].packets > before


def test_the_probe_device_is_made_once_and_its_routes_follow(net: Network, kernel: Kernel) -> None:
    first = kernel.links.ensure_probe_device(ROUTES)
    assert kernel.links.ensure_probe_device(ROUTES) == first
    assert "198.18.0.0/15 dev hp-probe0" in net.ip("director", "route")
    assert "fd18::/64 dev hp-probe0" in net.ip("director", "-6", "route")
    assert "hp-probe" not in {interface.name for interface in kernel.links.interfaces()}
    other = [ProbeRoute("198.19.0.0/16", ip_address(address("director")))]
    assert kernel.links.ensure_probe_device(other) == first
    routes = net.ip("director", "route") + net.ip("director", "-6", "route")
    assert "198.19.0.0/16 dev hp-probe0" in routes
    assert "198.18" not in routes
    assert "fd18" not in routes


def test_short_and_tagged_frames_pass(net: Network, kernel: Kernel) -> None:
    """On a pair of its own: a bridge may drop short packets before the forwarder sees them."""
    configure(kernel, net)
    net.ip("director", "link", "add", "t0", "up", "type", "veth", "peer", "name", "t1")
    try:
        net.ip("director", "link", "set", "t1", "up")
        own = next(interface for interface in kernel.links.interfaces() if interface.name == "t0")
        assert kernel.links.ensure_attached([net.ifindex("director"), own.ifindex]) == ["t0: attached hp_ingress"]
        packet = p.ipv4(address("client"), VIP, p.TCP, p.tcp(address("client"), VIP, (1, PORT)))
        packet6 = p.ipv6(address("client", 6), VIP6, p.TCP, b"")
        before = kernel.maps.reasons()
        with net.socket("director", socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("t1", 0))
            tagged = b"\0\x05\x08\0" + packet
            for kind, body in ((p.IPV4, packet[:19]), (p.IPV4, b"\x45"), (p.IPV6, packet6[:39]), (p.VLAN, tagged)):
                raw.send(p.ethernet(own.mac, mac("client"), kind, body))
        time.sleep(0.2)
        after = kernel.maps.reasons()
    finally:
        net.ip("director", "link", "del", "t0")
    changes = {reason: after[reason].packets - before[reason].packets for reason in Reason}
    assert changes[Reason.PASS_MALFORMED] == 3
    assert changes[Reason.PASS_VLAN] == 1
    assert changes[Reason.FORWARDED] == 0


SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 1 << 4


OWNER = """
import sys, time
from pathlib import Path
from dataplane.kernel.assemble import open_kernel
kernel = open_kernel(Path(sys.argv[1]), Path(sys.argv[2]), on_event=lambda: None)
kernel.links.ensure_attached([int(sys.argv[3])])
print("attached", flush=True)
time.sleep(60)
"""


def test_forwarding_goes_on_after_kill_9_and_a_new_process_finds_everything(
    net: Network, object_file: Path, pin_dir: Path
) -> None:
    director, space = net.ifindex("director"), net.namespace("director")
    with inside(space):
        first = open_kernel(object_file, pin_dir, on_event=lambda: None)
        configure(first, net)
        tables, program = first.maps.read(), program_info(first.forwarder.ingress_fd)
        first.links.ensure_attached([])
        first.close()
        command = [sys.executable, "-c", OWNER, str(object_file), str(pin_dir), str(director)]
        owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "attached\n"
        finally:
            owner.send_signal(signal.SIGKILL)
            owner.communicate()
        try:
            assert {ask_tcp(net, "client", VIP) for _ in range(20)} == set(SERVERS)
            second = open_kernel(object_file, pin_dir, on_event=lambda: None)
            assert second.maps.read() == tables
            assert program_info(second.forwarder.ingress_fd) == program
            assert second.links.ensure_attached([director]) == []
            second.close()
        finally:
            removed = remove_everything(pin_dir)
    assert "eth0: detached hp_ingress" in removed
    assert not pin_dir.exists()
    assert "hp_ingress" not in run("tc", "-n", space, "filter", "show", "dev", "eth0", "ingress")


def sum_in_software(net: Network, host: str, *, wanted: bool) -> None:
    """Let the kernel itself sum up what the host sends, as a network card would (ETHTOOL_STXCSUM)."""
    value = ctypes.create_string_buffer(struct.pack("=II", 0x17, not wanted))
    with net.socket(host, socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, 0x8946, struct.pack("16sP16x", b"eth0", ctypes.addressof(value)))


def configure_ranges(kernel: Kernel, net: Network, ring: bytes) -> None:
    """Both VIPs with ports 8000 to 8100 of any protocol; told when the ring has no service."""
    configure(kernel, net)
    observed = kernel.maps.read()
    wanted = Tables(observed.settings, observed.interfaces, services=observed.services)
    for number, vip in enumerate(VIPS.values(), start=1):
        full = ip_address("255.255.255.255" if vip == VIP else ":".join(["ffff"] * 8))
        key = VServerKey(ip_address(vip), 0, 8000, 8100)
        wanted.vservers[key] = VServerEntry(number, number, HashField.SOURCE, full)
        wanted.rings[number] = ring
        wanted.policies[number] = PolicyEntry(number, 60, 0, full, when_down=WhenDown.REJECT)
        wanted.vips[key.address] = VipFlag.ANSWER | VipFlag.RANGE
    wanted.port_prefixes = port_prefixes(wanted.vservers)
    for step in plan(wanted, observed):
        kernel.maps.apply(step)


@pytest.mark.parametrize("version", [4, 6])
def test_a_range_of_ports_reaches_the_servers(net: Network, kernel: Kernel, version: int) -> None:
    configure_ranges(kernel, net, struct.pack("<H", 1) * RING_SLOTS)
    assert ask_tcp(net, "client", VIPS[version]) == "s1"
    assert ask_udp(net, "client", VIPS[version], b"hello") == b"s1 hello"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("summed_by", ["nobody", "client", "director"])
def test_clients_of_a_vserver_that_is_down_are_refused_at_once(
    net: Network, kernel: Kernel, version: int, summed_by: str
) -> None:
    """Frames that nobody has summed up yet reach the director from a machine beside it; others come from afar."""
    configure_ranges(kernel, net, bytes(2 * RING_SLOTS))
    for host in ("client", "director"):
        sum_in_software(net, host, wanted=host == summed_by)
    with pytest.raises(ConnectionRefusedError):
        ask_tcp(net, "client", VIPS[version])
    for size in (1, 100, 1400):
        with pytest.raises(ConnectionRefusedError):
            ask_udp(net, "client", VIPS[version], b"x" * size)
    reasons = kernel.maps.reasons()
    assert (reasons[Reason.REJECTED_RST].packets, reasons[Reason.REJECTED_ICMP].packets) == (1, 3)
