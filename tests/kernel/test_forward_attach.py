"""Filters, announcements, solicited groups, neighbours and their events, in network namespaces."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from dataplane.kernel.filters import INGRESS_PARENT, ensure_filter
from dataplane.kernel.libbpf import program_info
from dataplane.kernel.neighbours import NeighbourEvents
from tests import packets as p
from tests.kernel.bench import inside, run

pytestmark = pytest.mark.kernel

MACS = {"director": bytes.fromhex("02dd00000001"), "peer": bytes.fromhex("02dd00000002")}


class Pair:
    """Two namespaces, ``director`` and ``peer``, joined by their eth0."""

    def __init__(self, stack: ExitStack) -> None:
        self.names = {host: f"hpp{os.getpid()}{host}" for host in MACS}
        for name in self.names.values():
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
        end, peer = ("link", "add", "eth0", "address"), ("type", "veth", "peer", "name", "eth0", "address")
        self.ip("director", *end, MACS["director"].hex(":"), *peer, MACS["peer"].hex(":"), "netns", self.names["peer"])
        for number, host in enumerate(MACS, start=1):
            self.ip(host, "link", "set", "eth0", "up")
            self.ip(host, "addr", "add", f"10.78.0.{number}/24", "dev", "eth0")
            self.ip(host, "addr", "add", f"fd78::{number}/64", "dev", "eth0", "nodad")

    def ip(self, host: str, *command: str) -> str:
        return run("ip", "-n", self.names[host], *command)

    def tc(self, *command: str) -> str:
        return run("tc", "-n", self.names["director"], *command)

    @property
    def ifindex(self) -> int:
        return int(self.ip("director", "-o", "link", "show", "eth0").split(":")[0])


@pytest.fixture
def pair(object_file: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


@pytest.fixture
def kernel(pair: Pair, object_file: Path, pin_dir: Path) -> Iterator[Kernel]:
    with inside(pair.names["director"]):
        opened = open_kernel(object_file, pin_dir, on_event=lambda: None)
        try:
            yield opened
        finally:
            opened.close()


def eventually(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_interfaces_are_shown_as_they_are(pair: Pair, kernel: Kernel) -> None:
    kernel.links.ensure_probe_device([])
    [found] = kernel.links.interfaces()
    assert (found.name, found.ifindex, found.mac, found.up) == ("eth0", pair.ifindex, MACS["director"], True)
    assert {"10.78.0.1/24", "fd78::1/64"} <= {str(a) for a in found.addresses}
    pair.ip("director", "link", "set", "eth0", "down")
    assert not kernel.links.interfaces()[0].up


def test_attaching_is_done_once_and_undone_where_it_is_not_wanted(pair: Pair, kernel: Kernel) -> None:
    assert kernel.links.ensure_attached([pair.ifindex]) == ["eth0: attached hp_ingress"]
    assert kernel.links.ensure_attached([pair.ifindex]) == []
    assert f"id {program_info(kernel.forwarder.ingress_fd).id} " in pair.tc("filter", "show", "dev", "eth0", "ingress")
    assert kernel.links.ensure_attached([]) == ["eth0: detached hp_ingress"]
    assert pair.tc("filter", "show", "dev", "eth0", "ingress") == ""
    with pytest.raises(OSError, match="no Ethernet interface has ifindex 999"):
        kernel.links.ensure_attached([999])


def test_a_program_of_ours_that_is_not_this_one_is_replaced_in_place(pair: Pair, kernel: Kernel) -> None:
    with IPRoute() as ip:
        ensure_filter(ip, pair.ifindex, INGRESS_PARENT, kernel.forwarder.probe_fd, "hp_ingress")
    assert kernel.links.ensure_attached([pair.ifindex]) == ["eth0: replaced hp_ingress"]
    shown = pair.tc("filter", "show", "dev", "eth0", "ingress")
    assert shown.count("handle") == 1
    assert f"id {program_info(kernel.forwarder.ingress_fd).id} " in shown


def test_filters_of_others_stay_and_ours_does_not_take_their_place(pair: Pair, kernel: Kernel) -> None:
    def add(priority: int) -> None:
        options = {"fd": kernel.forwarder.probe_fd, "name": "theirs", "direct_action": True}
        with IPRoute() as ip:
            ip.tc("add-filter", "bpf", pair.ifindex, 1, parent=INGRESS_PARENT, prio=priority, protocol=3, **options)

    pair.tc("qdisc", "add", "dev", "eth0", "clsact")
    add(10)
    assert kernel.links.ensure_attached([pair.ifindex]) == ["eth0: attached hp_ingress"]
    assert kernel.links.ensure_attached([]) == ["eth0: detached hp_ingress"]
    assert "pref 10 bpf chain 0 handle 0x1 theirs" in pair.tc("filter", "show", "dev", "eth0", "ingress")
    add(40)
    with pytest.raises(FileExistsError, match="filter theirs has priority 40"):
        kernel.links.ensure_attached([pair.ifindex])
    assert kernel.links.ensure_attached([]) == []
    shown = pair.tc("filter", "show", "dev", "eth0", "ingress")
    assert "pref 10 bpf chain 0 handle 0x1 theirs" in shown
    assert "pref 40 bpf chain 0 handle 0x1 theirs" in shown


def test_announcements_are_whole_and_reach_the_link(pair: Pair, kernel: Kernel) -> None:
    director = MACS["director"]
    message = p.advertisement("fd78::80", "ff02::1", "fd78::80", director, 0x20000000)
    advertised = p.ipv6("fd78::80", "ff02::1", p.ICMPV6, message, hops=255)
    wanted = {
        p.ethernet(p.BROADCAST, director, p.ARP, p.arp(1, director, "10.78.0.80", bytes(6), "10.78.0.80")),
        p.ethernet(bytes.fromhex("333300000001"), director, p.IPV6, advertised),
    }
    with inside(pair.names["peer"]):
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with link:
        link.bind(("eth0", 3))
        link.settimeout(3)
        kernel.links.announce(pair.ifindex, [ip_address("10.78.0.80"), ip_address("fd78::80")])
        while wanted:
            wanted.discard(link.recv(2000))


def test_solicitations_are_heard_for_exactly_the_wanted_addresses(pair: Pair, kernel: Kernel) -> None:
    def groups() -> str:
        return pair.ip("director", "maddr", "show", "dev", "eth0")

    pair.ip("director", "neigh", "add", "proxy", "fd78::99", "dev", "eth0")
    wanted = [ip_address("fd78::80"), ip_address("fd78::81"), ip_address("10.78.0.80")]
    for _ in range(2):
        kernel.links.ensure_solicited(pair.ifindex, wanted)
        assert "ff02::1:ff00:80" in groups()
        assert "ff02::1:ff00:81" in groups()
    kernel.links.ensure_solicited(pair.ifindex, wanted[:1])
    assert "ff02::1:ff00:80" in groups()
    assert "ff02::1:ff00:81" not in groups()
    kernel.links.ensure_solicited(pair.ifindex, [])
    assert "ff02::1:ff00:80" not in groups()
    assert "fd78::99" in pair.ip("director", "neigh", "show", "proxy")


def test_watched_neighbours_are_resolved_followed_and_let_go(pair: Pair, kernel: Kernel) -> None:
    here, absent = ip_address("10.78.0.2"), ip_address("10.78.0.77")
    here6 = ip_address("fd78::2")
    targets = {(pair.ifindex, address) for address in (here, absent, here6)}
    for _ in range(2):
        kernel.neighbours.watch(targets)

    def mac_of(address: object) -> bytes | None:
        return next((n.mac for n in kernel.neighbours.table().values() if n.address == address), None)

    assert eventually(lambda: mac_of(here) == mac_of(here6) == MACS["peer"])
    assert eventually(lambda: kernel.neighbours.table()[pair.ifindex, absent].failed)
    assert mac_of(absent) is None
    # A server that comes back with another MAC and says so
    other = bytes.fromhex("02dd00000003")
    pair.ip("peer", "link", "set", "eth0", "address", other.hex(":"))
    with inside(pair.names["peer"]):
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with link:
        link.bind(("eth0", 0))
        time.sleep(1.1)  # the kernel holds a new address for locktime, 1 s
        link.send(p.ethernet(p.BROADCAST, other, p.ARP, p.arp(1, other, str(here), bytes(6), str(here))))
    assert eventually(lambda: mac_of(here) == other)
    kernel.neighbours.watch([(pair.ifindex, here)])
    assert kernel.neighbours.table().keys() == {(pair.ifindex, here)}
    assert str(absent) not in pair.ip("director", "neigh", "show")


def test_events_tell_of_links_addresses_and_neighbours_until_stopped(pair: Pair) -> None:
    told = threading.Event()
    with inside(pair.names["director"]):
        events = NeighbourEvents(told.set)
    try:
        time.sleep(0.2)
        for command in (
            ("link", "set", "eth0", "mtu", "1400"),
            ("addr", "add", "10.78.0.50/24", "dev", "eth0"),
            ("addr", "add", "fd78::50/64", "dev", "eth0", "nodad"),
            ("neigh", "add", "10.78.0.60", "lladdr", "02:00:00:00:00:60", "dev", "eth0"),
        ):
            time.sleep(0.1)
            told.clear()
            pair.ip("director", *command)
            assert told.wait(3), command
    finally:
        events.stop()
        events.stop()
    told.clear()
    pair.ip("director", "link", "set", "eth0", "mtu", "1300")
    assert not told.wait(0.3)


def test_lost_events_and_a_failing_callback_end_nothing(pair: Pair) -> None:
    calls: list[int] = []
    go_on = threading.Event()

    def callback() -> None:
        calls.append(1)
        if len(calls) == 1:
            go_on.wait(20)
            raise RuntimeError("a fault of the callback")

    with inside(pair.names["director"]):
        events = NeighbourEvents(callback)
    try:
        pair.ip("director", "link", "set", "eth0", "mtu", "1400")
        assert eventually(lambda: len(calls) == 1)
        index = pair.ifindex
        with IPRoute(netns=pair.names["director"]) as ip:  # more than the socket's buffer holds
            for number in range(1500):
                ip.neigh(
                    "replace", dst=f"10.78.{number // 250}.{number % 250}", lladdr="02:00:00:00:00:01", ifindex=index
                )
        go_on.set()
        assert eventually(lambda: len(calls) >= 2)
        before = len(calls)
        time.sleep(0.2)
        pair.ip("director", "link", "set", "eth0", "mtu", "1300")
        assert eventually(lambda: len(calls) > before)
    finally:
        go_on.set()
        events.stop()


def test_nothing_is_left_after_removal(pair: Pair, kernel: Kernel, pin_dir: Path) -> None:
    before = pair.ip("director", "route"), pair.ip("director", "maddr", "show", "dev", "eth0")
    kernel.links.ensure_attached([pair.ifindex])
    kernel.links.ensure_probe_device([])
    kernel.links.ensure_solicited(pair.ifindex, [ip_address("fd78::80")])
    kernel.neighbours.watch([(pair.ifindex, ip_address("10.78.0.77"))])
    assert remove_everything(pin_dir) != []
    assert remove_everything(pin_dir) == []
    assert (pair.ip("director", "route"), pair.ip("director", "maddr", "show", "dev", "eth0")) == before
    assert "hp-probe" not in pair.ip("director", "link")
    assert "10.78.0.77" not in pair.ip("director", "neigh", "show")
    assert not pin_dir.exists()
