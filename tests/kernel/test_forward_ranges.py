"""Ranges of ports in the loaded forwarder: which vserver gets a packet."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataplane.dissect import dissect, find_vserver
from dataplane.plan import plan
from dataplane.port_ranges import port_prefixes
from dataplane.steps import Delete, Put, Table
from dataplane.tables import HashField, Ports, Reason, Tables, VipFlag, VServerEntry, VServerKey
from tests import packets as p
from tests.fakes import Packet, where
from tests.kernel.bench import OWN_MAC, Bench, service_mac, whole_ring

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
VIPS = {4: "203.0.113.80", 6: "2001:db8:80::80"}
CLIENTS = {4: "192.0.2.1", 6: "2001:db8::1"}
MASKS = {4: ip_address("255.255.255.255"), 6: ip_address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}
ORDER = [
    (p.TCP, 85, 0),
    (p.TCP, 80, 90),
    (p.TCP, 85, 95),
    (p.TCP, 1, 65535),
    (p.TCP, 0, 0),
    (0, 85, 0),
    (0, 80, 90),
    (0, 85, 95),
    (0, 1, 65535),
    (0, 0, 0),
]


def frame(version: int, port: int, protocol: int = p.TCP) -> bytes:
    source, vip, ports = CLIENTS[version], VIPS[version], (40000, port)
    data = p.tcp(source, vip, ports) if protocol == p.TCP else p.udp(source, vip, ports)
    if version == 4:
        return p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(source, vip, protocol, data))
    return p.ethernet(OWN_MAC, MAC, p.IPV6, p.ipv6(source, vip, protocol, data))


def vserver_key(version: int, protocol: int, port: int, port_end: int = 0) -> VServerKey:
    return VServerKey(ip_address(VIPS[version]), protocol, port, port_end)


def fill(bench: Bench, keys: Iterable[VServerKey]) -> Tables:
    """Vserver n forwards to service n, of 1 to 9; nothing else is served."""
    observed = bench.maps.read()
    wanted = Tables(observed.settings, observed.interfaces, services=observed.services)
    for number, key in enumerate(keys, 1):
        entry = VServerEntry(number, 100 + number, HashField.SOURCE, MASKS[key.address.version])
        wanted.vservers[key] = entry
        wanted.rings[number] = whole_ring(number)
        flags = VipFlag.PROTO_PORT | VipFlag.PROTO | VipFlag.PORT | VipFlag.ANY | VipFlag.PROTO_RANGE | VipFlag.RANGE
        wanted.vips[key.address] = flags
    wanted.port_prefixes = port_prefixes(wanted.vservers)
    for step in plan(wanted, observed):
        bench.maps.apply(step)
    assert bench.maps.read() == wanted
    return wanted


@pytest.mark.parametrize("version", [4, 6])
def test_the_most_special_vserver_gets_the_packet_and_the_next_one_when_it_goes(bench: Bench, version: int) -> None:
    keys = [vserver_key(version, *one) for one in ORDER][:9]
    fill(bench, keys)
    for number, key in enumerate(keys, 1):
        assert bench.send(frame(version, 85)).frame[:6] == service_mac(number)
        remaining = port_prefixes(keys[number:])
        for prefix in bench.maps.read().port_prefixes:
            if prefix not in remaining:
                bench.maps.apply(Delete(Table.PORT_PREFIXES, prefix))
        for prefix, ports in remaining.items():
            bench.maps.apply(Put(Table.PORT_PREFIXES, prefix, ports))
        bench.maps.apply(Delete(Table.VSERVERS, key))
    assert bench.send(frame(version, 85)).reason is Reason.DROP_NO_VSERVER


@pytest.mark.parametrize("version", [4, 6])
def test_a_range_has_its_first_and_last_port_and_no_other(bench: Bench, version: int) -> None:
    fill(bench, [vserver_key(version, p.UDP, 5060, 5070)])
    taken = {port: bench.send(frame(version, port, p.UDP)).reason for port in (5059, 5060, 5065, 5070, 5071)}
    assert taken == {
        5059: Reason.DROP_NO_VSERVER,
        5060: Reason.FORWARDED,
        5065: Reason.FORWARDED,
        5070: Reason.FORWARDED,
        5071: Reason.DROP_NO_VSERVER,
    }
    assert bench.send(frame(version, 5065)).reason is Reason.DROP_NO_VSERVER
    later = p.ipv4(CLIENTS[4], VIPS[4], p.UDP, bytes(40), offset=48)
    if version == 4:
        assert bench.send(p.ethernet(OWN_MAC, MAC, p.IPV4, later)).reason is Reason.DROP_FRAGMENT


def test_an_icmp_error_about_a_reply_from_a_range_follows_it(bench: Bench) -> None:
    fill(bench, [vserver_key(4, p.TCP, 80, 90)])
    quoted = p.ipv4(VIPS[4], CLIENTS[4], p.TCP, p.tcp(VIPS[4], CLIENTS[4], (85, 40000)))
    error = p.ipv4("198.51.100.7", VIPS[4], p.ICMP, p.icmp(3, bytes(4) + quoted))
    assert bench.send(p.ethernet(OWN_MAC, MAC, p.IPV4, error)).frame[:6] == service_mac(1)


def test_what_is_remembered_of_a_port_ends_when_a_narrower_range_appears(bench: Bench) -> None:
    wide, narrow = vserver_key(4, p.TCP, 80, 90), vserver_key(4, p.TCP, 84, 86)
    fill(bench, [wide])
    assert [bench.send(frame(4, 85)).frame[:6] for _ in range(2)] == [service_mac(1)] * 2
    fill(bench, [wide, narrow])
    assert bench.send(frame(4, 85)).frame[:6] == service_mac(2)
    fill(bench, [wide])
    assert bench.send(frame(4, 85)).frame[:6] == service_mac(1)


@st.composite
def ports(draw: st.DrawFn) -> Ports:
    kind = draw(st.sampled_from(["any", "one", "range", "range", "range"]))
    if kind == "any":
        return 0, 0
    first = draw(st.integers(78, 92))
    return (first, 0) if kind == "one" else (first, draw(st.sampled_from([*range(first + 1, 95), 65535])))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(
        st.builds(
            lambda version, protocol, some: vserver_key(version, protocol, *some),
            st.sampled_from([4, 6]),
            st.sampled_from([0, p.TCP, p.UDP]),
            ports(),
        ),
        unique=True,
        max_size=9,
    )
)
def test_forwarder_model_and_explanation_find_the_same_vserver_for_every_port(
    bench: Bench, keys: list[VServerKey]
) -> None:
    tables = fill(bench, keys)
    for version in (4, 6):
        client, vip = ip_address(CLIENTS[version]), ip_address(VIPS[version])
        for protocol in (p.TCP, p.UDP):
            for port in (77, *range(79, 95, 2), 84, 40000, 65535):
                sent = frame(version, port, protocol)
                done = bench.send(sent)
                verdict = where(tables, Packet(client, vip, protocol, 40000, port))
                found = find_vserver(dissect(sent), tables.vservers)
                assert done.reason is verdict.reason
                assert (found is None) == (verdict.reason is not Reason.FORWARDED)
                if found is not None:
                    assert tables.vservers[found].config_id == verdict.vserver
                    assert done.frame[:6] == verdict.mac == service_mac(tables.vservers[found].vserver_id)
