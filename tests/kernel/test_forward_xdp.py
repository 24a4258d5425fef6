"""hp_xdp with hp_ingress behind it does with every frame what hp_ingress alone does, and counts it once."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dataplane.kernel import xdp
from dataplane.kernel.libbpf import possible_cpus, program_info, run_program
from dataplane.layout_telemetry import pack_tap
from dataplane.steps import Put, Table
from dataplane.tables import (
    Count,
    ForwarderSettings,
    HashField,
    PolicyEntry,
    Reason,
    ServiceEntry,
    SettingFlag,
    VServerFlag,
    VServerKey,
)
from tests import packets as p
from tests.fakes import Packet, perform, where
from tests.forwarder import Memory
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, Outcome, inside, service_mac, whole_ring
from tests.kernel.test_forward_model import NETWORK, RINGS, changes, packets, vserver_flags

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("02cc00000001")
VIP, VIP6, CLIENT, CLIENT6 = "203.0.113.80", "2001:db8::80", "192.0.2.1", "2001:db8:1::1"
VERDICTS = {1: "drop", 2: "pass", 3: "redirect", 4: "redirect"}
_PASS = 2


@dataclass(frozen=True)
class Early:
    """What hp_xdp did, by XDP's own verdict; ``counted`` are the frames that it counted, by reason."""

    code: int
    frame: bytes
    counted: dict[Reason, Count]


@dataclass
class TwoStages:
    """hp_xdp is attached to eth0, as a test run for an interface needs."""

    bench: Bench

    def early(self, frame: bytes) -> Early:
        context = struct.pack("=6I", 0, len(frame), 0, self.bench.ifindex, 0, 0)
        before = self.bench.maps.reasons()
        with inside(self.bench.namespace):
            done = run_program(self.bench.forwarder.xdp_fd, frame, context)
        after = self.bench.maps.reasons()
        counted = {
            reason: Count(after[reason].packets - before[reason].packets, after[reason].bytes - before[reason].bytes)
            for reason in Reason
            if after[reason] != before[reason]
        }
        return Early(done.verdict, done.frame, counted)

    def send(self, frame: bytes) -> Outcome:
        """As a frame that arrives: XDP, then tc if it is passed on."""
        early = self.early(frame)
        if early.code == _PASS:
            assert not early.counted, "what is passed on is counted by tc alone"
            assert early.frame == frame, "and not touched"
            return self.bench.send(frame)
        [(reason, count)] = early.counted.items()
        return Outcome(VERDICTS[early.code], reason, early.frame, count)


@pytest.fixture
def stages(bench: Bench) -> Iterator[TwoStages]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # CPU 0 begins its turns at slot 0, as the model does
    with inside(bench.namespace):
        xdp.attach(bench.ifindex, bench.forwarder.xdp_fd, None)
    try:
        yield TwoStages(bench)
    finally:
        there = xdp.Attached(program_info(bench.forwarder.xdp_fd).id, "hp_xdp", native=True)
        with inside(bench.namespace):
            xdp.detach(bench.ifindex, there)
        os.sched_setaffinity(0, before)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tcp=vserver_flags,
    udp=vserver_flags,
    fields=st.sampled_from([HashField.SOURCE, HashField.SOURCE | HashField.SOURCE_PORT]),
    moves=st.lists(st.one_of(packets(), packets(), packets(), changes()), min_size=5, max_size=40),
)
def test_both_stages_together_agree_with_the_model_on_every_packet(
    stages: TwoStages,
    tcp: VServerFlag,
    udp: VServerFlag,
    fields: HashField,
    moves: list[tuple[bytes, Packet] | Put],
) -> None:
    bench = stages.bench
    for name in ("flows", "embryos", "fragments"):
        opened = bench.forwarder.maps[name]
        for entry, _value in opened.items():
            opened.delete(entry)
    for vserver_id, protocol, flags in ((1, p.TCP, tcp), (2, p.UDP, udp)):
        key = VServerKey(ip_address(VIP), protocol, 80)
        policy = PolicyEntry(100 + vserver_id, 600, 600, NETWORK)
        bench.add_vserver(key, vserver_id, RINGS[2], fields=fields, flags=flags, policy=policy)
        zero = bytes(8 * possible_cpus())
        bench.forwarder.maps["turns"].update(vserver_id.to_bytes(4, "little"), zero, len(zero))
    tables, memory = bench.maps.read(), Memory()
    for move in moves:
        if isinstance(move, Put):
            bench.maps.apply(move)
            perform(tables, move)
            continue
        frame, packet = move
        done, expected = stages.send(frame), where(tables, packet, memory)
        event(expected.reason.name)
        assert done.reason is expected.reason, packet
        assert done.count == Count(1, len(frame))
        if expected.mac:
            assert done.frame == expected.mac + EGRESS_MAC + frame[12:], packet


def ethernet(packet: bytes) -> bytes:
    """From a client's router to this director."""
    return p.ethernet(OWN_MAC, MAC, p.IPV4 if packet[0] >> 4 == 4 else p.IPV6, packet)


def plain(version: int, protocol: int, payload: bytes, target: str = "") -> bytes:
    """A client's frame, to the VIP by default."""
    if version == 4:
        return ethernet(p.ipv4(CLIENT, target or VIP, protocol, payload))
    return ethernet(p.ipv6(CLIENT6, target or VIP6, protocol, payload))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Whole frames of every kind, and parts of them."""
    version = draw(st.sampled_from([4, 6]))
    ends = (CLIENT, VIP) if version == 4 else (CLIENT6, VIP6)
    ports = draw(st.sampled_from([1024, 40000, 65535])), draw(st.sampled_from([80, 443, 9]))
    body = draw(st.binary(max_size=60))
    kind = draw(st.sampled_from(["tcp", "tcp", "tcp", "udp", "sctp", "esp", "ping", "extension", "other", "raw"]))
    made = {
        "tcp": lambda: plain(version, p.TCP, p.tcp(*ends, ports, body, flags=draw(st.integers(0, 63)))),
        "udp": lambda: plain(version, p.UDP, p.udp(*ends, ports, body)),
        "sctp": lambda: plain(version, p.SCTP, p.sctp(ports)),
        "esp": lambda: plain(version, p.ESP, body),
        "ping": lambda: (
            plain(4, p.ICMP, p.icmp(8, bytes(4) + body))
            if version == 4
            else plain(6, p.ICMPV6, p.icmpv6(*ends, 128, bytes(4) + body))
        ),
        "extension": lambda: plain(6, p.HOP_BY_HOP, p.extension(p.TCP) + p.tcp(CLIENT6, VIP6, ports)),
        "other": lambda: plain(version, p.TCP, p.tcp(*ends, ports), target="203.0.113.9" if version == 4 else "::9"),
        "raw": lambda: draw(st.binary(min_size=14, max_size=80)),
    }[kind]()
    spoilt = draw(st.sampled_from(["", "", "", "", "MACs", "a byte", "cut", "tag"]))
    if spoilt == "MACs":
        macs = [p.BROADCAST + MAC, service_mac(1) + OWN_MAC, OWN_MAC + service_mac(1), OWN_MAC + service_mac(2)]
        return draw(st.sampled_from(macs)) + made[12:]
    if spoilt == "a byte":
        place = draw(st.integers(0, len(made) - 1))
        return made[:place] + draw(st.binary(min_size=1, max_size=1)) + made[place + 1 :]
    if spoilt == "cut":
        return made[: draw(st.integers(14, len(made)))]
    return made[:12] + struct.pack(">HH", p.VLAN, 10) + made[12:] if spoilt == "tag" else made


@pytest.fixture
def filled(stages: TwoStages) -> TwoStages:
    for number, vip in ((1, VIP), (2, VIP6)):
        stages.bench.add_vserver(VServerKey(ip_address(vip), p.TCP, 80), number, RINGS[2])
        stages.bench.add_vserver(VServerKey(ip_address(vip), 0, 443), number + 2, whole_ring(3))
        stages.bench.add_vserver(VServerKey(ip_address(vip), p.SCTP, 0), number + 4, RINGS[0])
    return stages


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames(), st.sampled_from([SettingFlag(0), SettingFlag.TTL]))
def test_what_xdp_finishes_tc_would_have_finished_the_same_way(
    filled: TwoStages, frame: bytes, rules: SettingFlag
) -> None:
    bench = filled.bench
    bench.put(Table.SETTINGS, 0, ForwarderSettings(bytes(range(16)), flags=rules))
    early = filled.early(frame)
    try:
        alone = bench.send(frame)
    except OSError:  # a test run for tc wants a whole IP header behind an Ethernet type that says so
        assert early.code == _PASS
        return
    event(f"{early.code} {alone.reason.name}")
    if early.code == _PASS:
        assert not early.counted
        assert early.frame == frame
        return
    assert VERDICTS[early.code] == alone.verdict
    assert early.counted == {alone.reason: alone.count}
    assert early.frame == alone.frame


@pytest.mark.parametrize("version", [4, 6])
def test_the_own_interface_sends_by_xdp_tx_and_another_by_redirect(stages: TwoStages, version: int) -> None:
    bench = stages.bench
    vip = VIP if version == 4 else VIP6
    bench.add_vserver(VServerKey(ip_address(vip), p.TCP, 80), 1, whole_ring(1))
    frame = plain(version, p.TCP, p.tcp(*((CLIENT, VIP) if version == 4 else (CLIENT6, VIP6)), (40000, 80)))
    for ifindex, code in ((bench.ifindex, 3), (bench.ifindex + 1, 4)):
        bench.put(Table.SERVICES, 1, ServiceEntry(1, ifindex, service_mac(1), EGRESS_MAC))
        early = stages.early(frame)
        assert (early.code, early.frame) == (code, service_mac(1) + EGRESS_MAC + frame[12:])


def test_while_a_capture_listens_to_a_vserver_its_frames_are_left_to_tc(stages: TwoStages) -> None:
    bench = stages.bench
    taps = bench.forwarder.maps["taps"]
    bench.add_vserver(VServerKey(ip_address(VIP), p.TCP, 80), 1, whole_ring(1))  # row 101
    bench.add_vserver(VServerKey(ip_address(VIP), p.UDP, 80), 2, whole_ring(1))  # row 102
    tcp = plain(4, p.TCP, p.tcp(CLIENT, VIP, (40000, 80)))
    whole = p.udp(CLIENT, VIP, (40000, 80), bytes(80), summed=False)
    first = ethernet(p.ipv4(CLIENT, VIP, p.UDP, whole[:48], more=True))
    later = ethernet(p.ipv4(CLIENT, VIP, p.UDP, whole[48:], offset=48))
    future = 1 << 62
    for until, row, passed in (
        (0, 0, ""),
        (1, 101, ""),
        (future, 101, "tcp"),
        (future, 102, "udp"),
        (future, 0, "all"),
    ):
        taps.update(bytes(4), pack_tap(until, row))
        assert (stages.early(tcp).code == _PASS) == (passed in ("tcp", "all")), (until, row)
        assert (stages.send(first).reason, stages.send(later).reason) == (Reason.FORWARDED, Reason.FORWARDED)
        assert (stages.early(first).code == _PASS) == (passed in ("udp", "all")), (until, row)
        # A later fragment shows no port: it is left to tc whoever listens
        assert (stages.early(later).code == _PASS) == bool(passed), (until, row)
