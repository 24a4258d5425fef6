"""Samples of single frames: what listeners are told, what they are not, and that it ends by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane import layout
from dataplane.flow_view import Names
from dataplane.kernel.events import COMMANDS, EVENTS, SETTINGS, Listener, open_listener
from dataplane.kernel.libbpf import Map
from dataplane.steps import Put, Table
from dataplane.tables import (
    NO_VSERVER_FLAGS,
    Event,
    ForwarderSettings,
    Reason,
    Sampled,
    SampleKind,
    Sampling,
    SettingFlag,
    VServerFlag,
    VServerKey,
)
from dataplane.watch import Watch, Watcher
from tests import packets as p
from tests.kernel.bench import OWN_MAC, Bench, service_mac, whole_ring
from webui import live

pytestmark = pytest.mark.kernel

CLIENT_MAC = bytes.fromhex("020000000bad")
CLIENTS = {4: "192.0.2.9", 6: "2001:db8::9"}
VIPS = {4: "203.0.113.80", 6: "2001:db8:80::80"}
SYN, ACK = 2, 0x10
ALL = SampleKind.DROP | SampleKind.FLOW | SampleKind.FORWARDED


@pytest.fixture
def listener(bench: Bench) -> Iterator[Listener]:
    made = Listener(bench.forwarder.maps)
    try:
        yield made
    finally:
        made.close()


def wish(kinds: SampleKind = ALL, rate: int = 1000, burst: int = 1000, **more: object) -> Sampling:
    return Sampling(0, kinds, rate, burst, **more)  # type: ignore[arg-type] # a test's shorthand


def tcp(version: int, port: int, flags: int = SYN, source_port: int = 40000) -> bytes:
    client, vip = CLIENTS[version], VIPS[version]
    segment = p.tcp(client, vip, (source_port, port), b"data", flags=flags)
    if version == 4:
        return p.ethernet(OWN_MAC, CLIENT_MAC, p.IPV4, p.ipv4(client, vip, p.TCP, segment))
    return p.ethernet(OWN_MAC, CLIENT_MAC, p.IPV6, p.ipv6(client, vip, p.TCP, segment))


def serve(bench: Bench, version: int, *, flags: VServerFlag = NO_VSERVER_FLAGS) -> None:
    """Port 80 by service 3; port 81 without any service."""
    vip = ip_address(VIPS[version])
    bench.add_vserver(VServerKey(vip, p.TCP, 80), 1, whole_ring(3), flags=flags)
    bench.add_vserver(VServerKey(vip, p.TCP, 81), 2, whole_ring(0))


def is_sampled(bench: Bench) -> bool:
    found = bench.forwarder.maps[SETTINGS].lookup(bytes(4))
    assert found is not None
    return bool(found[layout.SAMPLED_OFFSET])


def summary(events: list[Event]) -> list[tuple[SampleKind, Reason, int, int]]:
    return [(event.kind, event.reason, event.vserver, event.service) for event in events]


@pytest.mark.parametrize("version", [4, 6])
def test_flows_and_drops_are_told_with_what_is_known_of_them(bench: Bench, listener: Listener, version: int) -> None:
    serve(bench, version)
    bench.send(tcp(version, 80))
    assert listener.events(0) == []  # nobody has asked yet
    listener.listen(wish(caught=20))
    began = time.monotonic_ns()
    frames = [tcp(version, 80), tcp(version, 80, ACK), tcp(version, 81), tcp(version, 82)]
    for frame in frames:
        bench.send(frame)
    found = listener.events(0.5)
    assert summary(found) == [
        (SampleKind.FLOW, Reason.FORWARDED, 101, 3),
        (SampleKind.FORWARDED, Reason.FORWARDED, 101, 3),
        (SampleKind.DROP, Reason.DROP_NO_SERVICE, 102, 0),
        (SampleKind.DROP, Reason.DROP_NO_VSERVER, 0, 0),
    ]
    first = found[0]
    assert began < first.time < time.monotonic_ns()
    assert (first.source, first.destination) == (ip_address(CLIENTS[version]), ip_address(VIPS[version]))
    assert (first.source_port, first.port, first.protocol, first.tcp_flags) == (40000, 80, 6, SYN)
    assert (first.ifindex, first.length) == (bench.ifindex, len(frames[0]))
    assert first.frame == service_mac(3) + first.frame[6:12] + frames[0][12:20]  # as it left
    assert found[2].frame == frames[2][:20]  # as it came
    assert [event.arrived for event in found] == [OWN_MAC + CLIENT_MAC] * 4
    assert listener.sampled() == Sampled(4, 0)


def test_a_flow_is_new_once_where_flows_are_kept(bench: Bench, listener: Listener) -> None:
    serve(bench, 4, flags=VServerFlag.SESSIONS)
    listener.listen(wish(SampleKind.FLOW))
    for flags in (SYN, SYN, ACK, ACK):
        bench.send(tcp(4, 80, flags))
    bench.send(tcp(4, 80, ACK, source_port=40001))  # a connection that nobody here saw begin
    assert [event.source_port for event in listener.events(0.5)] == [40000, 40001]


def test_one_vserver_is_told_of_with_what_came_to_its_address_for_none(bench: Bench, listener: Listener) -> None:
    serve(bench, 4)
    serve(bench, 6)  # the same ids: the rows that count are those of the last
    listener.listen(wish(SampleKind.DROP, vserver=102, vip=ip_address(VIPS[4])))
    for version, port in ((4, 80), (4, 81), (4, 82), (6, 82)):
        bench.send(tcp(version, port))
    found = [(event.vserver, str(event.destination), event.port) for event in listener.events(0.5)]
    assert found == [(102, VIPS[4], 81), (0, VIPS[4], 82)]


def test_what_comes_too_fast_is_counted_and_not_told(bench: Bench, listener: Listener) -> None:
    serve(bench, 4)
    listener.listen(wish(SampleKind.DROP, rate=1, burst=3))
    for _ in range(10):
        bench.send(tcp(4, 81))
    told = len(listener.events(0.5))
    # A burst for each CPU that the frames ran on, and what time refilled
    assert 3 <= told <= 9
    assert listener.sampled() == Sampled(told, 10 - told)


def test_sampling_ends_by_itself_when_nobody_renews_it(bench: Bench, listener: Listener) -> None:
    serve(bench, 4)
    listener.listen(wish(), seconds=30)
    bench.send(tcp(4, 80))
    assert is_sampled(bench)
    listener.listen(wish(), seconds=-1)
    bench.send(tcp(4, 80))
    assert not is_sampled(bench)  # the first frame after the end found nobody
    bench.send(tcp(4, 80))
    assert len(listener.events(0.2)) == 1


def test_settings_that_change_meanwhile_are_kept(bench: Bench, listener: Listener) -> None:
    settings = ForwarderSettings(bytes(range(16)), 7, CLIENT_MAC, SettingFlag.TTL)
    bench.put(Table.SETTINGS, 0, settings)
    listener.listen(wish())
    assert bench.maps.read().settings == settings
    bench.maps.apply(Put(Table.SETTINGS, 0, settings))  # puts the hint out until the next renewal
    listener.listen(wish())
    assert is_sampled(bench)


def test_several_listen_and_each_hears_what_it_asked_for(bench: Bench, listener: Listener) -> None:
    serve(bench, 4)
    listener.listen(wish(SampleKind.DROP))
    with open_listener(bench.forwarder.folder.parent) as other:
        other.listen(wish(SampleKind.FLOW))
        bench.send(tcp(4, 80))
        bench.send(tcp(4, 81))
        assert summary(other.events(0.5)) == [(SampleKind.FLOW, Reason.FORWARDED, 101, 3)]
    assert summary(listener.events(0.5)) == [(SampleKind.DROP, Reason.DROP_NO_SERVICE, 102, 0)]


def test_one_command_too_many_is_refused_and_leaves_nothing(bench: Bench) -> None:
    pin_dir = bench.forwarder.folder.parent
    opened = [open_listener(pin_dir) for _ in COMMANDS]
    for one in opened:
        one.__enter__()
    try:
        with pytest.raises(OSError, match="others listen already"), open_listener(pin_dir):
            pass
    finally:
        for one in opened:
            one.__exit__(None, None, None)
    assert bench.forwarder.maps[EVENTS].items() == []


def test_nothing_pinned_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is the worker running"), open_listener(tmp_path / "none"):
        pass


def test_drops_count_for_their_vserver_by_reason(bench: Bench) -> None:
    serve(bench, 4)
    for port in (81, 81, 82, 80):
        bench.send(tcp(4, port))
    assert (bench.maps.drops(1), bench.maps.drops(2)) == ({}, {Reason.DROP_NO_SERVICE: 2})
    assert bench.maps.counters().drops == {2: {Reason.DROP_NO_SERVICE: 2}}
    bench.maps.clear_counters(vservers=[2])
    assert bench.maps.counters().drops == {}


def test_the_row_of_a_vserver_is_known_from_its_first_packet_on(bench: Bench) -> None:
    rows: Map = bench.forwarder.maps["vserver_rows"]
    serve(bench, 4)
    assert [layout.unpack_id(rows.lookup(layout.pack_id(number)) or b"") for number in (1, 2)] == [101, 102]


def test_viewers_of_the_console_are_told_what_the_forwarder_did(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[live.Event] = []
    monkeypatch.setattr(live, "publish", sent.append)
    serve(bench, 4)
    watcher = Watcher("director1", lambda: Listener(bench.forwarder.maps))
    watcher.want([Watch(102, ip_address(VIPS[4]))], lambda: Names({102: "web"}))
    deadline = time.monotonic() + 10
    while not any(event["type"] == "live.flows" and event["rows"] for event in sent):
        assert time.monotonic() < deadline
        bench.send(tcp(4, 81))
        bench.send(tcp(4, 80))  # another vserver's
        time.sleep(0.1)
    rows = [row for event in sent if event["type"] == "live.flows" for row in event["rows"]]
    assert {(row["vserver_name"], row["reason"], row["vip"]) for row in rows} == {
        ("web", "DROP_NO_SERVICE", f"{VIPS[4]}:81")
    }
    watcher.want([], Names)
    while bench.forwarder.maps[EVENTS].items():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    bench.send(tcp(4, 81))
    bench.send(tcp(4, 81))
    assert not is_sampled(bench)
