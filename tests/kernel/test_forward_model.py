"""Sequences of packets and changes, through the forwarder and through its model in Python: both must agree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dataplane.kernel.libbpf import possible_cpus
from dataplane.rotation import rotation
from dataplane.steps import Put, Table
from dataplane.tables import (
    ClosedKey,
    ClosedState,
    HashField,
    PolicyEntry,
    ServiceEntry,
    ServiceFlag,
    VServerFlag,
    VServerKey,
)
from tests import packets as p
from tests.fakes import Packet, perform, where
from tests.forwarder import Memory
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, service_mac

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
VIP, CLIENTS = "203.0.113.80", ("192.0.2.1", "192.0.2.2", "198.51.100.9")
RINGS = [rotation([(str(number), 1 + number % 3, number) for number in range(1, size + 1)]) for size in (0, 2, 5)]
FULL, NETWORK = ip_address("255.255.255.255"), ip_address("255.255.255.0")


@pytest.fixture
def pinned(bench: Bench) -> Iterator[Bench]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # CPU 0 begins its turns at slot 0, as the model does
    yield bench
    os.sched_setaffinity(0, before)


@st.composite
def packets(draw: st.DrawFn) -> tuple[bytes, Packet]:
    source, port = draw(st.sampled_from(CLIENTS)), draw(st.sampled_from([40000, 40001]))
    kind = draw(st.sampled_from(["tcp", "tcp", "tcp", "udp", "first", "later", "error"]))
    addresses = ip_address(source), ip_address(VIP)
    if kind == "tcp":
        flags = draw(st.sampled_from([2, 16, 16, 17, 4]))
        data = p.ipv4(source, VIP, p.TCP, p.tcp(source, VIP, (port, 80), flags=flags))
        made = Packet(*addresses, p.TCP, port, 80, tcp_flags=flags)
    elif kind == "udp":
        data = p.ipv4(source, VIP, p.UDP, p.udp(source, VIP, (port, 80)))
        made = Packet(*addresses, p.UDP, port, 80)
    elif kind == "error":
        quoted = p.ipv4(VIP, source, p.TCP, p.tcp(VIP, source, (80, port)))
        data = p.ipv4("198.51.100.7", VIP, p.ICMP, p.icmp(3, bytes(4) + quoted))
        about = Packet(addresses[1], addresses[0], p.TCP, 80, port)
        made = Packet(ip_address("198.51.100.7"), addresses[1], p.ICMP, quoted=about)
    else:
        later, ident = kind == "later", draw(st.sampled_from([1, 2]))
        body = p.udp(source, VIP, (port, 80), bytes(40), summed=False)
        data = p.ipv4(source, VIP, p.UDP, body, offset=48 * later, more=True, ident=ident)
        made = Packet(*addresses, p.UDP, port, 80, fragment=True, later=later, fragment_id=ident)
    return p.ethernet(OWN_MAC, MAC, p.IPV4, data), made


@st.composite
def changes(draw: st.DrawFn) -> Put:
    service = draw(st.integers(1, 5))
    if draw(st.booleans()):
        return Put(Table.RINGS, draw(st.sampled_from([1, 2])), draw(st.sampled_from(RINGS)))
    if draw(st.booleans()):
        return Put(
            Table.CLOSED, ClosedKey(draw(st.sampled_from([101, 102])), service), draw(st.sampled_from(ClosedState))
        )
    row = draw(st.sampled_from([service, service + 50]))
    flags = draw(st.sampled_from([ServiceFlag(0), ServiceFlag.CLOSED]))
    return Put(Table.SERVICES, service, ServiceEntry(row, 1, service_mac(service), EGRESS_MAC, flags))


vserver_flags = st.sampled_from([VServerFlag(number) for number in range(8)])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tcp=vserver_flags,
    udp=vserver_flags,
    fields=st.sampled_from([HashField.SOURCE, HashField.SOURCE | HashField.SOURCE_PORT]),
    moves=st.lists(st.one_of(packets(), packets(), packets(), changes()), min_size=5, max_size=40),
)
def test_forwarder_and_model_agree_on_every_packet(
    pinned: Bench,
    tcp: VServerFlag,
    udp: VServerFlag,
    fields: HashField,
    moves: list[tuple[bytes, Packet] | Put],
) -> None:
    for name in ("flows", "embryos", "fragments"):
        opened = pinned.forwarder.maps[name]
        keys = opened.dump()[0]
        for place in range(0, len(keys), opened.key_size):
            opened.delete(keys[place : place + opened.key_size])
    turns = pinned.forwarder.maps["turns"]
    for vserver_id, protocol, flags in ((1, p.TCP, tcp), (2, p.UDP, udp)):
        key = VServerKey(ip_address(VIP), protocol, 80)
        policy = PolicyEntry(100 + vserver_id, 600, 600, NETWORK)
        pinned.add_vserver(key, vserver_id, RINGS[2], fields=fields, flags=flags, policy=policy)
        zero = bytes(8 * possible_cpus())
        turns.update(vserver_id.to_bytes(4, "little"), zero, len(zero))
    tables, memory = pinned.maps.read(), Memory()
    for move in moves:
        if isinstance(move, Put):
            pinned.maps.apply(move)
            perform(tables, move)
            continue
        frame, packet = move
        done, expected = pinned.send(frame), where(tables, packet, memory)
        event(expected.reason.name)
        assert done.reason is expected.reason, packet
        if expected.mac:
            assert done.frame[:6] == expected.mac, packet
