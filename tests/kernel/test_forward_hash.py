"""The forwarder's hash against SipHash-1-3 in Python, over every method and mask."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataplane.hashing import siphash13
from dataplane.steps import Table
from dataplane.tables import RING_SLOTS, ForwarderSettings, HashField, IPAddress, Reason, VServerKey
from tests import packets as p
from tests.kernel.bench import OWN_MAC, Bench, service_mac

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
VIPS = {4: "203.0.113.80", 6: "2001:db8:80::80"}
ALL_FIELDS = [HashField(number) for number in range(8)]


def expected_slot(
    key: bytes, fields: HashField, source: IPAddress, destination: IPAddress, *, port: int, mask: IPAddress
) -> int:
    def masked(address: IPAddress) -> bytes:
        return bytes(a & m for a, m in zip(address.packed, mask.packed, strict=True))

    message = masked(source) if fields & HashField.SOURCE else b""
    message += masked(destination) if fields & HashField.DESTINATION else b""
    message += struct.pack(">H", port) if fields & HashField.SOURCE_PORT else b""
    return ((siphash13(key, message) >> 32) * RING_SLOTS) >> 32


def slot_of(bench: Bench, frame: bytes) -> int:
    """Bisect the slot by rings that are split in two: 14 runs, each a ring swap."""
    low, high = 0, RING_SLOTS
    while high - low > 1:
        middle = (low + high) // 2
        bench.put(Table.RINGS, 1, struct.pack("<H", 1) * middle + struct.pack("<H", 2) * (RING_SLOTS - middle))
        done = bench.send(frame)
        assert done.reason is Reason.FORWARDED
        if done.frame[:6] == service_mac(1):
            high = middle
        else:
            low = middle
    return low


def udp_frame(source: str, destination: str, port: int) -> bytes:
    message = p.udp(source, destination, (port, 80), b"hello")
    if ip_address(source).version == 4:
        return p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(source, destination, p.UDP, message))
    return p.ethernet(OWN_MAC, MAC, p.IPV6, p.ipv6(source, destination, p.UDP, message))


def in_slot(bench: Bench, frame: bytes, slot: int) -> bool:
    """Whether the frame falls on this very slot: only there stands service 2."""
    bench.put(Table.RINGS, 1, struct.pack("<H", 1) * slot + b"\x02\0" + struct.pack("<H", 1) * (RING_SLOTS - slot - 1))
    return bench.send(frame).frame[:6] == service_mac(2)


@pytest.mark.parametrize("fields", ALL_FIELDS, ids=repr)
@pytest.mark.parametrize("version", [4, 6])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_slot_is_siphash_of_what_the_method_names(
    bench: Bench, version: int, fields: HashField, data: st.DataObject
) -> None:
    bits = 32 if version == 4 else 128
    packed = st.binary(min_size=bits // 8, max_size=bits // 8)
    source = ip_address(data.draw(packed, "source"))
    mask = ip_address(data.draw(st.one_of(st.just(b"\xff" * (bits // 8)), packed), "mask"))
    port = data.draw(st.integers(0, 65535), "port")
    key = data.draw(st.binary(min_size=16, max_size=16), "key")
    vip = ip_address(VIPS[version])
    bench.put(Table.SETTINGS, 0, ForwarderSettings(hash_key=key))
    bench.add_vserver(VServerKey(vip, p.UDP, 80), 1, bytes(2 * RING_SLOTS), fields=fields, mask=mask)
    slot = expected_slot(key, fields, source, vip, port=port, mask=mask)
    assert in_slot(bench, udp_frame(str(source), str(vip), port), slot)


def test_the_slot_can_also_be_found_without_knowing_the_hash(bench: Bench) -> None:
    vip = ip_address(VIPS[4])
    key = bytes(range(16))
    mask = ip_address("255.255.255.255")
    bench.add_vserver(VServerKey(vip, p.UDP, 80), 1, bytes(2 * RING_SLOTS), fields=HashField.SOURCE)
    source = ip_address("192.0.2.7")
    found = slot_of(bench, udp_frame(str(source), str(vip), 1234))
    assert found == expected_slot(key, HashField.SOURCE, source, vip, port=0, mask=mask)


def test_protocols_without_ports_hash_port_zero_and_a_first_fragment_its_own(bench: Bench) -> None:
    vip, source = ip_address(VIPS[4]), ip_address("192.0.2.7")
    key, mask = bytes(range(16)), ip_address("255.255.255.255")
    fields = HashField.SOURCE | HashField.SOURCE_PORT
    bench.add_vserver(VServerKey(vip, 0, 0), 1, bytes(2 * RING_SLOTS), fields=fields)
    slot = expected_slot(key, fields, source, vip, port=0, mask=mask)
    message = p.udp(str(source), str(vip), (1234, 80), bytes(40))
    assert in_slot(bench, p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(str(source), str(vip), p.ESP, message)), slot)
    for more in (False, True):
        whole = p.ethernet(OWN_MAC, MAC, p.IPV4, p.ipv4(str(source), str(vip), p.UDP, message, more=more))
        assert not in_slot(bench, whole, slot)
        assert in_slot(bench, whole, expected_slot(key, fields, source, vip, port=1234, mask=mask))
