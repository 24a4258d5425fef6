"""The SYN rate filter: what passes, what is dropped and as what, and whom it leaves alone."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from dataplane.steps import Table
from dataplane.tables import Count, PolicyEntry, Reason, SynLimit, VServerFlag, VServerKey
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, Outcome, service_mac, whole_ring

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
VIPS = {4: "203.0.113.80", 6: "2001:db8:80::80"}
NETWORKS = {4: "192.0.2.{}", 6: "2001:db8::{}"}
STRANGERS = {4: "198.51.100.1", 6: "2001:db8:1::1"}
MASKS = {4: ip_address("255.255.255.0"), 6: ip_address("ffff:ffff:ffff:ffff::")}
SYN, SYN_ACK, ACK = 2, 18, 16
SLOW = 1  # a second: nothing comes back into the bucket while a test runs


def frame(version: int, source: str, flags: int = SYN) -> bytes:
    vip = VIPS[version]
    segment = p.tcp(source, vip, (40000, 80), flags=flags)
    if version == 4:
        return p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(source, vip, p.TCP, segment))
    return p.ethernet(OWN_MAC, MAC, p.IPV6, p.ipv6(source, vip, p.TCP, segment))


def limit(bench: Bench, version: int, *, rate: int, burst: int, source_rate: int, source_burst: int) -> None:
    syn = SynLimit(rate, burst, source_rate, source_burst, MASKS[version])
    policy = PolicyEntry(101, 60, 0, MASKS[version], syn)
    key = VServerKey(ip_address(VIPS[version]), p.TCP, 80)
    bench.add_vserver(key, 1, whole_ring(3), flags=VServerFlag.SYN_LIMIT, policy=policy)


def fates(bench: Bench, version: int, sources: list[str], flags: int = SYN) -> list[Reason]:
    return [bench.send(frame(version, source, flags)).reason for source in sources]


@pytest.mark.parametrize("version", [4, 6])
def test_a_vserver_takes_its_burst_and_drops_the_rest_unchanged(bench: Bench, version: int) -> None:
    limit(bench, version, rate=SLOW, burst=5, source_rate=0, source_burst=0)
    sources = [NETWORKS[version].format(host) for host in range(1, 9)]
    assert fates(bench, version, sources) == [Reason.FORWARDED] * 5 + [Reason.DROP_SYN_RATE] * 3
    dropped = frame(version, sources[0])
    assert bench.send(dropped) == Outcome("drop", Reason.DROP_SYN_RATE, dropped, Count(1, len(dropped)))
    assert bench.maps.drops(1) == {Reason.DROP_SYN_RATE: 4}
    assert bench.maps.counters().vservers[1].packets == 5


@pytest.mark.parametrize("version", [4, 6])
def test_a_network_that_sends_too_many_uses_up_nobody_elses_share(bench: Bench, version: int) -> None:
    limit(bench, version, rate=SLOW, burst=4, source_rate=SLOW, source_burst=3)
    sources = [NETWORKS[version].format(host) for host in range(1, 7)]
    assert fates(bench, version, sources) == [Reason.FORWARDED] * 3 + [Reason.DROP_SYN_SOURCE] * 3
    stranger = STRANGERS[version]
    assert fates(bench, version, [stranger] * 2) == [Reason.FORWARDED, Reason.DROP_SYN_RATE]


@pytest.mark.parametrize("version", [4, 6])
def test_only_syns_are_counted(bench: Bench, version: int) -> None:
    limit(bench, version, rate=SLOW, burst=1, source_rate=0, source_burst=0)
    source = NETWORKS[version].format(1)
    assert fates(bench, version, [source] * 2) == [Reason.FORWARDED, Reason.DROP_SYN_RATE]
    for flags in (ACK, SYN_ACK):
        sent = frame(version, source, flags)
        assert bench.send(sent).frame == service_mac(3) + EGRESS_MAC + sent[12:]


def test_the_bucket_fills_again_at_its_rate(bench: Bench) -> None:
    limit(bench, 4, rate=10, burst=1, source_rate=0, source_burst=0)
    source = NETWORKS[4].format(1)
    assert fates(bench, 4, [source] * 2) == [Reason.FORWARDED, Reason.DROP_SYN_RATE]
    time.sleep(0.15)
    assert fates(bench, 4, [source] * 2) == [Reason.FORWARDED, Reason.DROP_SYN_RATE]


def test_another_limit_is_in_force_at_once(bench: Bench) -> None:
    limit(bench, 4, rate=SLOW, burst=1, source_rate=0, source_burst=0)
    source = NETWORKS[4].format(1)
    assert fates(bench, 4, [source] * 2) == [Reason.FORWARDED, Reason.DROP_SYN_RATE]
    bench.put(Table.POLICIES, 1, PolicyEntry(101, 60, 0, MASKS[4], SynLimit(SLOW, 3, 0, 0, MASKS[4])))
    assert fates(bench, 4, [source] * 3) == [Reason.FORWARDED] * 2 + [Reason.DROP_SYN_RATE]
