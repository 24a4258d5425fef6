"""Guards against frames that go round in circles."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dataplane.steps import Table
from dataplane.tables import Count, ForwarderSettings, Reason, SettingFlag, VServerKey
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, Outcome, service_mac, whole_ring

pytestmark = pytest.mark.kernel

CLIENT_MAC = bytes.fromhex("02cc00000001")
PACKETS = {
    4: (p.IPV4, "192.0.2.1", "203.0.113.80"),
    6: (p.IPV6, "2001:db8::1", "2001:db8:80::80"),
}


def frame(version: int, source_mac: bytes = CLIENT_MAC, ttl: int = 64) -> bytes:
    kind, client, vip = PACKETS[version]
    segment = p.tcp(client, vip, (40000, 80))
    if version == 4:
        return p.ethernet(OWN_MAC, source_mac, kind, p.ipv4(client, vip, p.TCP, segment, ttl=ttl))
    return p.ethernet(OWN_MAC, source_mac, kind, p.ipv6(client, vip, p.TCP, segment, hops=ttl))


@pytest.fixture(params=[4, 6])
def version(bench: Bench, request: pytest.FixtureRequest) -> int:
    number = int(request.param)
    bench.add_vserver(VServerKey(ip_address(PACKETS[number][2]), p.TCP, 80), 1, whole_ring(3))
    return number


@pytest.mark.parametrize("mac", [service_mac(3), EGRESS_MAC, OWN_MAC], ids=["server", "egress", "ingress"])
def test_a_frame_from_the_server_or_from_ourselves_is_a_loop(bench: Bench, version: int, mac: bytes) -> None:
    looping = frame(version, mac)
    assert bench.send(looping) == Outcome("drop", Reason.DROP_LOOP, looping, Count(1, len(looping)))
    for octet in range(6):
        other = bytes(value ^ (0x40 if index == octet else 0) for index, value in enumerate(mac))
        assert bench.send(frame(version, other)).reason is Reason.FORWARDED


def test_a_frame_from_another_server_is_forwarded(bench: Bench, version: int) -> None:
    assert bench.send(frame(version, service_mac(4))).reason is Reason.FORWARDED


def test_the_ttl_is_looked_at_only_if_the_settings_say_so(bench: Bench, version: int) -> None:
    for ttl in (0, 1, 2, 255):
        sent = frame(version, ttl=ttl)
        assert bench.send(sent).frame == service_mac(3) + EGRESS_MAC + sent[12:]
    bench.put(Table.SETTINGS, 0, ForwarderSettings(hash_key=bytes(16), flags=SettingFlag.TTL))
    for ttl, reason in ((0, Reason.DROP_TTL), (1, Reason.DROP_TTL), (2, Reason.FORWARDED), (255, Reason.FORWARDED)):
        assert bench.send(frame(version, ttl=ttl)).reason is reason
