"""The bytes that Python packs against the types that the compiler saw (BTF of the object)."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane import layout, layout_telemetry
from dataplane.tables import (
    EVENT_FRAME,
    EVENTS_SIZE,
    MAX_CLOSED,
    MAX_EMBRYOS,
    MAX_FLOWS,
    MAX_FRAGMENTS,
    MAX_INTERFACES,
    MAX_PORT_PREFIXES,
    MAX_PROBE_FLOWS,
    MAX_PROBES,
    MAX_SAMPLERS,
    MAX_SERVICES,
    MAX_SYN_SOURCES,
    MAX_VIPS,
    MAX_VSERVERS,
    RING_SLOTS,
    ClosedKey,
    ClosedState,
    Count,
    ForwarderSettings,
    HashField,
    PolicyEntry,
    ProbeInKey,
    ProbeOut,
    Reason,
    Sampled,
    SampleKind,
    Sampling,
    ServiceEntry,
    ServiceFlag,
    SettingFlag,
    SynLimit,
    VipFlag,
    VServerEntry,
    VServerFlag,
    VServerKey,
    WhenDown,
)

ROOT = Path(__file__).parents[2]
needs_compiler = pytest.mark.skipif(
    not shutil.which("clang") or not shutil.which("bpftool"), reason="needs clang and bpftool"
)


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """BTF of the forwarder as it stands in the tree."""
    target = tmp_path_factory.mktemp("bpf") / "forward.bpf.o"
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    source = str(ROOT / "dataplane/bpf/forward.bpf.c")
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", include, "-c", source, "-o", str(target)], check=True)
    dump = subprocess.run(["bpftool", "btf", "dump", "file", str(target), "-j"], check=True, capture_output=True)
    found: list[dict[str, Any]] = json.loads(dump.stdout)["types"]
    return found


def named(types: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    matches = [t for t in types if t["kind"] == kind and t["name"] == name]
    assert len(matches) == 1, f"{kind} {name}: {len(matches)} in the BTF"
    return matches[0]


@needs_compiler
@given(st.lists(st.lists(st.integers(0, 2**32), min_size=3, max_size=3), max_size=5))
def test_flows_that_began_are_summed_over_the_cpus(by_index: list[list[int]]) -> None:
    data = b"".join(struct.pack("<3Q", *of_cpus) for of_cpus in by_index)
    assert layout_telemetry.sum_begun(data, 3) == [sum(of_cpus) for of_cpus in by_index]


SIZES = layout.SIZES | layout_telemetry.SIZES
OFFSETS = layout.OFFSETS | layout_telemetry.OFFSETS


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_offsets_are_the_compilers(types: list[dict[str, Any]], name: str) -> None:
    struct = named(types, "STRUCT", name)
    assert struct["size"] == SIZES[name]
    assert {m["name"]: m["bits_offset"] // 8 for m in struct["members"]} == OFFSETS[name]


@needs_compiler
@pytest.mark.parametrize(
    ("name", "prefix", "numbers"),
    [
        ("reason", "REASON_", Reason),
        ("vip_flag", "VIP_", VipFlag),
        ("hash_field", "HASH_", HashField),
        ("setting_flag", "SETTING_", SettingFlag),
        ("vserver_flag", "VSERVER_", VServerFlag),
        ("service_flag", "SERVICE_", ServiceFlag),
        ("closed_state", "CLOSED_", ClosedState),
        ("sample_kind", "SAMPLE_", SampleKind),
        ("when_down", "WHEN_DOWN_", WhenDown),
    ],
)
def test_numbers_are_the_compilers(
    types: list[dict[str, Any]], name: str, prefix: str, numbers: type[IntEnum] | type[IntFlag]
) -> None:
    found = {value["name"].removeprefix(prefix): value["val"] for value in named(types, "ENUM", name)["values"]}
    found.pop("COUNT", None)
    assert found == {member.name: int(member) for member in numbers}


def test_limits_are_those_of_limits_h() -> None:
    defines = dict(
        line.split()[1:3]
        for line in (ROOT / "dataplane/bpf/limits.h").read_text().splitlines()
        if line.startswith("#define") and len(line.split()) == 3
    )
    assert defines.pop("RECENT_BITS") == "10"  # of no concern to Python
    assert {name: int(value) for name, value in defines.items()} == {
        "MAX_VSERVERS": MAX_VSERVERS,
        "MAX_VIPS": MAX_VIPS,
        "MAX_SERVICES": MAX_SERVICES,
        "MAX_PORT_PREFIXES": MAX_PORT_PREFIXES,
        "MAX_PROBES": MAX_PROBES,
        "MAX_INTERFACES": MAX_INTERFACES,
        "MAX_CLOSED": MAX_CLOSED,
        "MAX_FLOWS": MAX_FLOWS,
        "MAX_EMBRYOS": MAX_EMBRYOS,
        "MAX_FRAGMENTS": MAX_FRAGMENTS,
        "MAX_SYN_SOURCES": MAX_SYN_SOURCES,
        "RING_SLOTS": RING_SLOTS,
        "MAX_PROBE_FLOWS": MAX_PROBE_FLOWS,
        "MAX_SAMPLERS": MAX_SAMPLERS,
        "EVENTS_SIZE": EVENTS_SIZE,
        "EVENT_FRAME": EVENT_FRAME,
    }


addresses = st.one_of(
    st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda a: isinstance(a, IPv6Address) and a.ipv4_mapped is None)
)
macs = st.binary(min_size=6, max_size=6)
words = st.integers(0, (1 << 32) - 1)
keys = st.builds(VServerKey, addresses, st.integers(0, 255), st.integers(0, 65535))


@given(addresses)
def test_an_address_comes_back(address: IPv4Address | IPv6Address) -> None:
    assert layout.unpack_address(layout.pack_address(address)) == address


@given(keys, st.integers(1, MAX_VSERVERS - 1), words, st.integers(0, 7), st.data())
def test_a_vserver_comes_back(key: VServerKey, vserver_id: int, row: int, fields: int, data: st.DataObject) -> None:
    mask = data.draw(st.ip_addresses(v=4) if key.address.version == 4 else st.ip_addresses(v=6))
    entry = VServerEntry(vserver_id, row, HashField(fields), mask, data.draw(st.sampled_from([*VServerFlag])))
    assert layout.unpack_vserver_key(layout.pack_vserver_key(key)) == key
    assert layout.unpack_vserver(layout.pack_vserver(entry), key) == entry


@given(words, words, macs, macs, addresses)
def test_services_probes_and_settings_come_back(
    row: int, ifindex: int, mac: bytes, source_mac: bytes, vip: IPv4Address | IPv6Address
) -> None:
    service = ServiceEntry(row, ifindex, mac, source_mac)
    assert layout.unpack_service(layout.pack_service(service)) == service
    probe = ProbeOut(vip, ifindex, mac, source_mac)
    assert layout.unpack_probe_out(layout.pack_probe_out(probe)) == probe
    key = ProbeInKey(vip, mac)
    assert layout.unpack_probe_in_key(layout.pack_probe_in_key(key)) == key
    settings = ForwarderSettings(mac + source_mac + bytes(4), ifindex, mac)
    assert layout.unpack_settings(layout.pack_settings(settings)) == settings
    assert layout.unpack_interface(layout.pack_interface(mac)) == mac


@given(words, words, st.integers(0, 86400), st.integers(0, 86400), st.sampled_from([4, 6]), st.data())
def test_policies_and_closed_pairs_come_back(  # noqa: PLR0917 - a value for each field
    row: int, service: int, idle: int, persist: int, version: Literal[4, 6], data: st.DataObject
) -> None:
    rates = st.integers(1, layout.MAX_RATE)
    limits = st.builds(SynLimit, rates, rates, rates, rates, st.ip_addresses(v=version))
    limit = data.draw(st.none() | limits)
    policy = PolicyEntry(row, idle, persist, data.draw(st.ip_addresses(v=version)), limit)
    assert layout.unpack_policy(layout.pack_policy(policy), version) == policy
    key = ClosedKey(row, service)
    assert layout.unpack_closed_key(layout.pack_closed_key(key)) == key
    for state in ClosedState:
        assert layout.unpack_closed(layout.pack_closed(state)) is state


def test_bytes_stand_where_the_c_struct_has_them() -> None:
    key = VServerKey(ip_address("192.0.2.1"), 6, 80)
    assert layout.pack_vserver_key(key).hex() == "00000000000000000000ffffc0000201" + "0050" + "06" + "00"
    entry = VServerEntry(1, 2, HashField.SOURCE, ip_address("255.255.255.0"))
    assert layout.pack_vserver(entry).hex() == "01000000020000000100000000000000" + "00" * 12 + "ffffff00"


def test_counters_of_all_cpus_are_added() -> None:
    one, two = (1).to_bytes(8, "little"), (2).to_bytes(8, "little")
    assert layout_telemetry.sum_counters(one + two + two + two) == Count(3, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layout.pack_vserver_key(VServerKey(ip_address("::1"), 6, 65536)), "port is 65536: must be 0 to 65535"),
        (lambda: layout.pack_vserver_key(VServerKey(ip_address("::1"), 256, 1)), "protocol is 256: must be 0 to 255"),
        (lambda: layout.pack_service(ServiceEntry(1, 1, b"12345", bytes(6))), "mac has 5 bytes: must have 6"),
        (lambda: layout.pack_ring(bytes(2)), "ring has 2 bytes: must have 32762"),
        (lambda: layout.pack_settings(ForwarderSettings(b"short")), "hash_key has 5 bytes: must have 16"),
        (
            lambda: layout.pack_vserver(VServerEntry(MAX_VSERVERS, 1, HashField.SOURCE, ip_address("::"))),
            "vserver_id is 4096: must be 1 to 4095",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_flows_count_until_they_time_out() -> None:
    second = 1_000_000_000
    now = 1000 * second

    def count(age: int, *, kind: int = 0, closing: int = 0, vserver: int = 5, embryos: bool = False) -> int:
        key = bytes(8) + struct.pack(">HHBB2x", 40000, 80, 6, kind)
        value = struct.pack("<QIIII", now - age * second, 3, 7, vserver, closing)
        found = list(layout.live_flows(key, value, now, {5: 120}, embryos=embryos))
        assert found in ([], [(vserver, 3)])
        return len(found)

    assert (count(120), count(121)) == (1, 0)
    assert (count(30, closing=1), count(31, closing=1)) == (1, 0)
    assert (count(30, embryos=True), count(31, embryos=True)) == (1, 0)
    assert count(0, kind=1) == 0  # a source that is remembered is no flow
    assert count(1, vserver=6) == 0  # its vserver is gone


@given(addresses, addresses, words, st.integers(0, 65535), st.sampled_from(Reason), st.sampled_from(SampleKind))
def test_an_event_is_read_as_the_kernel_writes_it(  # noqa: PLR0917 - a value for each field
    source: IPv4Address | IPv6Address,
    destination: IPv4Address | IPv6Address,
    word: int,
    port: int,
    reason: Reason,
    kind: SampleKind,
) -> None:
    ports = struct.pack(">HH", port, 80)
    middle = struct.pack("<BBBBIIIIII", 6, kind, 2, 0x12, reason, 2, word, 3, word, 10)
    both = layout.pack_address(source) + layout.pack_address(destination)
    data = struct.pack("<Q", 5) + both + ports + middle + bytes(range(EVENT_FRAME)) + bytes(range(12)) + bytes(4)
    event = layout_telemetry.unpack_event(data)
    assert (event.source, event.destination, event.source_port, event.port) == (source, destination, port, 80)
    assert (event.time, event.reason, event.kind, event.tcp_flags, event.fragment) == (5, reason, kind, 0x12, True)
    assert (event.ifindex, event.vserver, event.service, event.length) == (2, word, 3, word)
    assert (event.frame, event.arrived) == (bytes(range(10)), bytes(range(12)))


def test_what_a_listener_asks_for_is_packed_by_name() -> None:
    wish = Sampling(9, SampleKind.DROP | SampleKind.FLOW, 100, 200, 7, ip_address("192.0.2.1"), 1000, EVENT_FRAME)
    packed = layout_telemetry.pack_sampling(wish)
    assert layout_telemetry.sampling_until(packed) == 9
    assert struct.unpack("<Q16sIIIIII", packed)[2:] == (7, 3, 1000, 100, 200, EVENT_FRAME)
    with pytest.raises(ValueError, match="caught is 97: must be 0 to 96"):
        layout_telemetry.pack_sampling(Sampling(0, SampleKind.DROP, 1, 1, caught=EVENT_FRAME + 1))


def test_drops_and_samples_of_all_cpus_are_added() -> None:
    reasons = len(Reason) - Reason.DROP_MALFORMED
    one, two = [0] * reasons, [0] * reasons
    one[0], two[0], two[-1] = 1, 2, 5
    found = layout_telemetry.sum_drops(struct.pack(f"<{2 * reasons}Q", *one, *two))
    assert found == {Reason.DROP_MALFORMED: 3, max(Reason): 5}
    assert layout_telemetry.sum_sampled(struct.pack("<6Q", 99, 1, 2, 99, 10, 20)) == Sampled(11, 22)
